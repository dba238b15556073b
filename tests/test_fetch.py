"""The scripts that fetch real sets and weights, against repositories and servers made here."""

import ast
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from data_scripts import (
    fetch_mexculture,
    fetch_plant_pathology,
    fetch_plantvillage,
    fetch_weights,
)
from labkit.data import PLANTVILLAGE_FOLDERS, load_heritage, load_leaves
from labkit.models import PRETRAINED, weights_file

needs_git = pytest.mark.needs("git", "sudo apt install git", there=shutil.which("git"))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder, and the address at which it is served."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    urllib.request.install_opener(None)  # it remembers the proxies
    root = tmp_path / "site"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = partial(Handler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    urllib.request.install_opener(None)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


# PlantVillage


def git(folder, *arguments):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    who |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_NOSYSTEM": "1"}
    ran = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **who},
    )
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def plants(tmp_path_factory):
    """A checkout like PlantVillage's: ten apple leaves a class, two photographs of each."""
    root = tmp_path_factory.mktemp("plants")
    sessions = zip(PLANTVILLAGE_FOLDERS, ("RS_HL", "FrgE.S"), strict=True)
    for i, (name, session) in enumerate(sessions):
        for number in (100 + 10 * leaf + shot for leaf in range(10) for shot in (0, 1)):
            stem = f"{number:04d}-uuid___{session} {number}"
            picture(root / "raw" / "color" / name / f"{stem}.JPG", number + i)
            picture(root / "raw" / "segmented" / name / f"{stem}_final_masked.jpg", 255 - number)
    picture(root / "raw" / "color" / "Corn___healthy" / "1.JPG")
    put(root / "README.md", b"PlantVillage")
    return root


def wanted(root):
    """What is to come of a checkout."""
    of = tuple(f"raw/color/{name}/" for name in PLANTVILLAGE_FOLDERS)
    return {name: content for name, content in files_in(root).items() if name.startswith(of)}


@pytest.fixture(scope="module")
def repository(plants, tmp_path_factory):
    """Its bare repository with two commits; the second one took a picture away."""
    git(plants, "init", "--quiet", "--initial-branch=master")
    git(plants, "add", ".")
    git(plants, "commit", "--quiet", "-m", "all")
    first = git(plants, "rev-parse", "HEAD")
    next((plants / "raw" / "color" / PLANTVILLAGE_FOLDERS[0]).iterdir()).unlink()
    git(plants, "commit", "--quiet", "-am", "one less")
    bare = tmp_path_factory.mktemp("bare")
    git(plants, "clone", "--quiet", "--bare", ".", str(bare))
    git(bare, "config", "uploadpack.allowFilter", "true")  # as GitHub does
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    return bare, first


FOLDERS = [f"raw/color/{name}" for name in PLANTVILLAGE_FOLDERS]


@needs_git
def test_git_brings_the_two_classes_and_nothing_else(repository, plants, tmp_path):
    bare, _ = repository
    commit = fetch_plantvillage.clone(bare.as_uri(), "master", FOLDERS, tmp_path / "out")
    assert commit == git(plants, "rev-parse", "HEAD")
    assert files_in(tmp_path / "out") == wanted(plants)
    assert len(wanted(plants)) == 39


@needs_git
def test_git_brings_the_commit_that_is_asked_for(repository, tmp_path):
    bare, first = repository
    assert fetch_plantvillage.clone(bare.as_uri(), first, FOLDERS, tmp_path / "out") == first
    assert len(files_in(tmp_path / "out")) == 40


@needs_git
def test_git_fetches_no_history_and_no_other_files(repository, plants, tmp_path, monkeypatch):
    kept = {}

    def look(source, place):
        work = source.parents[2]
        objects = git(work, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
        kept["commits"] = objects.split().count("commit")
        kept["blobs"] = objects.split().count("blob")

    monkeypatch.setattr(fetch_plantvillage, "_move", look)
    fetch_plantvillage.clone(repository[0].as_uri(), "master", FOLDERS, tmp_path / "out")
    assert kept == {"commits": 1, "blobs": len(set(wanted(plants).values()))}


@needs_git
def test_git_says_why_it_fails_and_leaves_nothing(repository, tmp_path):
    for commit in ("no-such-branch", "--upload-pack=touch evil"):
        with pytest.raises(ConnectionError, match=r"git fetch must succeed, got .*--no-git"):
            fetch_plantvillage.clone(repository[0].as_uri(), commit, FOLDERS, tmp_path / "out")
    assert files_in(tmp_path / "out") == {}


def test_git_needs_room(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 10**8}))
    with pytest.raises(OSError, match=r"must have 200\.0 MB free, got 100\.0 MB"):
        fetch_plantvillage.clone("file:///nowhere", "master", FOLDERS, tmp_path / "out")


@pytest.fixture(scope="module")
def listed(repository, plants, tmp_path_factory):
    """What GitHub's interface says of the repository, and its files, in a folder; the commit."""
    root = tmp_path_factory.mktemp("github")
    head, top = git(plants, "rev-parse", "HEAD"), git(plants, "rev-parse", "HEAD^{tree}")
    of = root / "repos" / fetch_plantvillage.REPOSITORY
    put(of / "commits" / "master", {"sha": head, "commit": {"tree": {"sha": top}}})
    for line in git(plants, "ls-tree", "-r", "-t", "HEAD").splitlines() + [f"_ tree {top}\t."]:
        (_, kind, sha), name = line.split("\t")[0].split(), line.split("\t")[1]
        if kind == "tree":
            put(of / "git" / "trees" / sha, {"tree": listing(plants, sha)})
        else:
            put(root / fetch_plantvillage.REPOSITORY / head / name, (plants / name).read_bytes())
    return root, head


@pytest.fixture
def github(listed, site):
    root, url = site
    shutil.copytree(listed[0], root, dirs_exist_ok=True)
    return root, url, listed[1]


def listing(plants, tree):
    entries = []
    for line in git(plants, "ls-tree", "-l", tree).splitlines():
        (_, kind, sha, size), name = line.split("\t")[0].split(), line.split("\t")[1]
        entry = {"path": name, "type": kind, "sha": sha}
        entries.append(entry | ({} if kind == "tree" else {"size": int(size)}))
    return entries


def over_https(url, folder, commit="master", names=FOLDERS):
    return fetch_plantvillage.download_files(
        commit, names, folder, progress=False, api=url, raw=url
    )


@needs_git
def test_without_git_the_same_files_come(github, plants, tmp_path):
    _, url, head = github
    assert over_https(url, tmp_path / "out") == head
    assert files_in(tmp_path / "out") == wanted(plants)


@needs_git
def test_a_file_that_is_not_the_one_in_git_is_refused(github, tmp_path):
    root, url, head = github
    name = f"{FOLDERS[1]}/0100-uuid___FrgE.S 100.JPG"
    put(root / fetch_plantvillage.REPOSITORY / head / name, b"evil")
    with pytest.raises(ValueError, match=r"FrgE\.S 100\.JPG must have the checksum git:"):
        over_https(url, tmp_path / "out")
    assert name not in files_in(tmp_path / "out")


@needs_git
def test_a_listing_with_a_name_outside_is_refused(github, plants, tmp_path):
    root, url, _ = github
    tree = git(plants, "rev-parse", f"HEAD:{FOLDERS[0]}")
    evil = {"path": "../../../../evil", "type": "blob", "sha": "0" * 40, "size": 1}
    put(root / "repos" / fetch_plantvillage.REPOSITORY / "git/trees" / tree, {"tree": [evil]})
    with pytest.raises(ValueError, match="must stay inside"):
        over_https(url, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@needs_git
def test_listings_of_another_form_are_refused(github, tmp_path):
    root, url, _ = github
    with pytest.raises(ValueError, match=r"must hold raw/colour, got no 'colour' in this commit"):
        over_https(url, tmp_path / "out", names=["raw/colour"])
    put(root / "repos" / fetch_plantvillage.REPOSITORY / "commits" / "new", {"id": 1})
    with pytest.raises(ValueError, match=r"as it used to, got an answer without 'sha'; fetch with"):
        over_https(url, tmp_path / "out", commit="new")


@needs_git
def test_files_over_https_need_room(github, plants, tmp_path, monkeypatch):
    size = sum(map(len, wanted(plants).values()))
    free = type("", (), {"free": size - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    with pytest.raises(OSError, match="free"):
        over_https(github[1], tmp_path / "out")
    assert files_in(tmp_path / "out") == {}


def plantvillage(tmp_path, *arguments):
    sizes = ["--n-train", "13", "--n-test", "6", "--quiet", "--folder", str(tmp_path / "out")]
    fetch_plantvillage.main([*sizes, *arguments])
    return json.loads((tmp_path / "out" / "SOURCE.json").read_text())


@needs_git
@pytest.mark.parametrize("way", ["git", "--no-git", "no git here"])
def test_source_json_says_the_commit_and_the_choice(
    github, repository, tmp_path, monkeypatch, capsys, way
):
    _, url, head = github
    download_files, clone = fetch_plantvillage.download_files, fetch_plantvillage.clone
    monkeypatch.setattr(
        fetch_plantvillage, "download_files", partial(download_files, api=url, raw=url)
    )
    monkeypatch.setattr(
        fetch_plantvillage, "clone", lambda _, *rest: clone(repository[0].as_uri(), *rest)
    )
    if way == "no git here":
        monkeypatch.setattr("shutil.which", lambda name: None)
    if way != "git":
        monkeypatch.setattr(fetch_plantvillage, "clone", None)
    source = plantvillage(tmp_path, *([way] if way == "--no-git" else []))
    train, test = load_leaves(tmp_path / "out", n_train=13, n_test=6, seed=0)
    assert source == {
        "repository": "spMohanty/PlantVillage-Dataset",
        "asked for": "master",
        "commit": head,
        "seed": 0,
        "train": train.names,
        "test": test.names,
    }
    assert f"DATA = {str(tmp_path / 'out')!r}" in capsys.readouterr().out


def archive_of(folder, path, top=""):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files_in(folder).items():
            archive.writestr(f"{top}{name}", content)
    return path


def test_an_archive_of_the_repository_serves(plants, tmp_path):
    archive = archive_of(plants, tmp_path / "a.zip", top="PlantVillage-Dataset-master/")
    source = plantvillage(tmp_path, "--from", str(archive), "--seed", "3", "--segmented")
    assert source["archive"] == "a.zip"
    assert source["checksum"] == f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    train, test = load_leaves(tmp_path / "out", n_train=13, n_test=6, seed=3)
    assert (source["train"], source["test"], source["seed"]) == (train.names, test.names, 3)
    assert all(mask is not None for mask in test.leaf_masks)
    came = set(files_in(tmp_path / "out"))
    assert len(came) == len(wanted(plants)) + 41  # 40 twins and SOURCE.json
    assert wanted(plants).keys() < came


def test_a_set_that_is_not_complete_has_no_source_json(plants, tmp_path):
    archive = archive_of(plants, tmp_path / "a.zip")
    plantvillage(tmp_path, "--from", str(archive))
    with pytest.raises(SystemExit, match=r"^fetch_plantvillage: .*must hold 900 \+ 6 pictures"):
        plantvillage(tmp_path, "--from", str(archive), "--n-train", "900")
    assert not (tmp_path / "out" / "SOURCE.json").exists()


# MexCulture142


@pytest.fixture
def buildings(tmp_path):
    root = tmp_path / "MexCulture142"
    for name in ("Colonial_Church_Puebla", "Modern_Tower_Mexico"):
        picture(root / "Images" / f"{name}_N_1.png")
        picture(root / "Density Maps" / f"{name}_GFDM_N_1.png")
        put(root / "Fixations" / f"{name}_GazeFix_N_1.txt", b"1 2\n3 4\n")
    return root


def nakala(site, archives):
    root, _ = site
    listed = []
    for path in archives:
        sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
        put(root / "data" / fetch_mexculture.SET / sha1, path.read_bytes())
        listed.append({"name": path.name, "sha1": sha1, "extension": "zip"})
    put(root / "datas" / fetch_mexculture.SET, {"files": listed})
    return listed


def mexculture(monkeypatch, site, folder, *arguments):
    download_all = partial(fetch_mexculture.download_all, api=site[1])
    monkeypatch.setattr(fetch_mexculture, "download_all", download_all)
    fetch_mexculture.main(["--quiet", "--folder", str(folder), *arguments])


@pytest.mark.parametrize("packed", ["as one", "by folder", "flat"])
def test_the_buildings_are_found_however_they_are_packed(
    buildings, site, tmp_path, monkeypatch, capsys, packed
):
    if packed == "as one":
        archives = [archive_of(buildings, tmp_path / "data.zip", top="MexCulture142/")]
    else:
        archives = [
            archive_of(part, tmp_path / f"{part.name}.zip", f"{part.name}/" * (packed != "flat"))
            for part in buildings.iterdir()
        ]
    nakala(site, archives)
    mexculture(monkeypatch, site, tmp_path / "out")
    said = capsys.readouterr().out
    heritage = load_heritage(ast.literal_eval(said.split("DATA = ")[1].strip()))
    assert heritage.names == ["Colonial_Church_Puebla_N_1", "Modern_Tower_Mexico_N_1"]
    assert heritage.missing == []
    assert [len(points) for points in heritage.fixations] == [2, 2]


def test_an_archive_of_the_buildings_serves(buildings, site, tmp_path, monkeypatch, capsys):
    (buildings / "Density Maps" / "Modern_Tower_Mexico_GFDM_N_1.png").unlink()
    archive = archive_of(buildings, tmp_path / "a.zip")
    mexculture(monkeypatch, site, tmp_path / "out", "--from", str(archive))
    said = capsys.readouterr().out
    assert "no matching file: Modern_Tower_Mexico_N_1.png has no density map\n" in said


def test_files_of_nakala_are_checked(buildings, site, tmp_path, monkeypatch):
    archive = archive_of(buildings, tmp_path / "a.zip")
    (listed,) = nakala(site, [archive])
    put(site[0] / "data" / fetch_mexculture.SET / listed["sha1"], b"evil")
    with pytest.raises(SystemExit, match=r"^fetch_mexculture: a\.zip must have the checksum sha1"):
        mexculture(monkeypatch, site, tmp_path / "out")
    for answer, error in (
        ({"files": [{"name": "../evil", "sha1": listed["sha1"]}]}, "must stay inside"),
        ({"file": 1}, r"must list files with name and sha1, got \{'file': 1\}; .*--from"),
        ([1], "must list files with name and sha1"),
    ):
        put(site[0] / "datas" / fetch_mexculture.SET, answer)
        with pytest.raises(SystemExit, match=error):
            mexculture(monkeypatch, site, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_an_archive_of_something_else_is_refused(plants, site, tmp_path, monkeypatch):
    archive = archive_of(plants / "raw", tmp_path / "a.zip")
    with pytest.raises(SystemExit, match=r"must hold a folder Images, got \['a'\] in .*nakala\.fr"):
        mexculture(monkeypatch, site, tmp_path / "out", "--from", str(archive))
    archive.write_bytes(b"a picture")
    with pytest.raises(SystemExit, match=r"a\.zip must be a zip or tar file, got something else"):
        mexculture(monkeypatch, site, tmp_path / "out", "--from", str(archive))


# Plant Pathology 2020


@pytest.fixture
def competition(tmp_path):
    root = tmp_path / "competition"
    for name in ("Train_0", "Train_1", "Train_2", "Test_0"):
        picture(root / "images" / f"{name}.jpg")
    rows = "image_id,healthy,multiple_diseases,rust,scab"
    rows += "\nTrain_0,0,0,0,1\nTrain_1,1,0,0,0\nTrain_2,0,0,0,1\n"
    put(root / "train.csv", rows.encode())
    return root


def pathology(tmp_path, *arguments):
    fetch_plant_pathology.main(["--quiet", "--folder", str(tmp_path / "out"), *arguments])


def test_labelled_leaves_come_into_a_folder_for_each_class(competition, tmp_path, capsys):
    archive = archive_of(competition, tmp_path / "a.zip")
    for _ in range(2):  # the second time over the first
        pathology(tmp_path, "--from", str(archive))
        names = sorted(files_in(tmp_path / "out"))
        assert names == ["healthy/Train_1.jpg", "scab/Train_0.jpg", "scab/Train_2.jpg"]
        assert capsys.readouterr().out.startswith("1 healthy, 2 scab\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["healthy", "scab"]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("Train_1,0,0,0,0", r"one class with 1 in each line, got \['Train_1'.* in line 3"),
        ("Train_1,1,0,0,1", "one class with 1"),
        ("Train_9,1,0,0,0", r"must hold images/Train_9\.jpg, got none"),
        ("../../x,1,0,0,0", "must stay inside"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(competition, tmp_path, row, error):
    table = competition / "train.csv"
    put(table, table.read_bytes().replace(b"Train_1,1,0,0,0", row.encode()))
    archive = archive_of(competition, tmp_path / "a.zip")
    with pytest.raises(SystemExit, match=error):
        pathology(tmp_path, "--from", str(archive))
    assert files_in(tmp_path / "out") == {}
    (competition / "train.csv").unlink()
    with pytest.raises(SystemExit, match=r"must hold train\.csv, got \['Test_0\.jpg'.*\]; pass"):
        pathology(tmp_path, "--from", str(archive_of(competition, tmp_path / "b.zip")))


def client(tmp_path, monkeypatch, body):
    """A command kaggle that runs some Python, in a PATH with nothing else."""
    program = tmp_path / "bin" / "kaggle"
    put(program, f"#!{sys.executable}\nimport sys, shutil\n{body}\n".encode())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@pytest.mark.needs("programs that start with #!", there=os.name != "nt")
def test_kaggles_client_is_asked_for_the_archive(competition, tmp_path, monkeypatch):
    archive = archive_of(competition, tmp_path / "a.zip")
    name = "plant-pathology-2020-fgvc7"
    body = f"""
assert sys.argv[1:5] == ["competitions", "download", "-c", "{name}"] and sys.argv[5] == "-p"
import os; os.makedirs(sys.argv[6], exist_ok=True)
shutil.copy({str(archive)!r}, sys.argv[6] + "/{name}.zip")"""
    client(tmp_path, monkeypatch, body)
    pathology(tmp_path)
    assert "scab/Train_0.jpg" in files_in(tmp_path / "out")


@pytest.mark.needs("programs that start with #!", there=os.name != "nt")
def test_what_kaggles_client_wants_is_said(tmp_path, monkeypatch):
    client(tmp_path, monkeypatch, "sys.exit(3)")
    with pytest.raises(SystemExit, match=r"exit status 3 .*token.*rules at https://www\.kaggle"):
        pathology(tmp_path)
    client(tmp_path, monkeypatch, "pass")
    with pytest.raises(SystemExit, match=r"must bring .*fgvc7\.zip, got exit status 0"):
        pathology(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no command kaggle; `python -m pip install kag.*--from"):
        pathology(tmp_path)


# Weights

CONTENT = b"weights"
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def weights(site, monkeypatch, tmp_path):
    """Every network's weights are one file of the site."""
    root, url = site
    put(root / "models" / NAME, CONTENT)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    entry = type("", (), {"url": f"{url}/models/{NAME}"})
    asked = []

    def of(name):
        asked.append(name)
        return {"IMAGENET1K_V1": entry}

    monkeypatch.setattr(torchvision.models, "get_model_weights", of)
    return root, asked


def test_weights_come_to_where_torch_looks_for_them(weights, tmp_path, capsys):
    root, asked = weights
    fetch_weights.main(["resnet18", "--quiet"])
    assert asked == ["resnet18"]
    assert files_in(tmp_path / "cache") == {f"hub/checkpoints/{NAME}": CONTENT}
    fetch_weights.main(["--quiet"])
    assert asked[1:] == list(PRETRAINED)
    assert "TORCH_HOME" not in capsys.readouterr().out


def test_a_shared_folder_is_laid_out_as_torch_home(weights, tmp_path, monkeypatch, capsys):
    fetch_weights.main(["vgg16", "--quiet", "--folder", str(tmp_path / "shared")])
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"TORCH_HOME is {tmp_path / 'shared'}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "shared"))
    weights_of_vgg16 = torchvision.models.get_model_weights("vgg16")["IMAGENET1K_V1"]
    assert weights_file(weights_of_vgg16).read_bytes() == CONTENT


@pytest.mark.parametrize("what", [NAME, "", "renamed.pth"])
def test_weights_come_from_a_file_or_a_folder(weights, tmp_path, what):
    root, _ = weights
    shutil.rmtree(root / "models")
    put(tmp_path / "stick" / NAME, CONTENT)
    put(tmp_path / "stick" / "renamed.pth", CONTENT)
    fetch_weights.main(["vgg16", "--from", str(tmp_path / "stick" / what)])
    assert files_in(tmp_path / "cache") == {f"hub/checkpoints/{NAME}": CONTENT}


def test_wrong_weights_are_refused(weights, tmp_path):
    root, _ = weights
    put(root / "models" / NAME, b"evil")
    with pytest.raises(SystemExit, match="^fetch_weights: net-.*must have the checksum sha256:"):
        fetch_weights.main(["vgg16", "--quiet"])
    with pytest.raises(SystemExit, match="must have the checksum sha256:"):
        fetch_weights.main(["vgg16", "--from", str(root / "models" / NAME)])
    assert not list((tmp_path / "cache").rglob("*.pth"))
    with pytest.raises(SystemExit, match=r"names must be of vgg16, .*, got vgg, alexnet$"):
        fetch_weights.main(["vgg16", "vgg", "alexnet"])
    with pytest.raises(ValueError, match=r"must have its checksum in its name.*got net\.pth"):
        fetch_weights.checksum_in_name("net.pth")


def test_every_network_of_ours_has_a_checksum_in_its_name():
    for name in PRETRAINED:
        url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
        assert len(fetch_weights.checksum_in_name(url)) == len("sha256:") + 8
    assert fetch_weights.checksum_in_name("resnet18-f37072fd.pth") == "sha256:f37072fd"
