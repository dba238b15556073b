"""One script a workload, each against its peers in the same run.

`make bench` runs them all and writes results.md; python -m benchmarks.NAME runs one and prints its
table, with --quick in one repeat on its smallest network. The peers come with the extra
`conformance`, nbgrader with `grading`.

What is measured where: every workload on minivgg, which all labs use, and on a network a student
would know, as large as keeps the whole run under 25 minutes on two cores. The weights are random,
as time does not depend on them. VGG-16 is left to what makes few passes, and to incremental
occlusion, which is made for it.
"""
