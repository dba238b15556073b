"""nbgrader's settings, for those who use it: solutions/ is its source, exercises/ its release.

    nbgrader generate_assignment lab4

`make exercises` writes the same text without nbgrader.
"""

c = get_config()  # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "labkit"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
# Where nbgrader would put worked solutions; its default, "solution", invites mistakes here.
c.CourseDirectory.solution_directory = "worked"
# The same stub as in tools/make_exercises.py.
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("write this function")'}
