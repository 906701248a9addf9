"""``python -m voxqueue``: the command line, for when its script is not on the path."""

from voxqueue.cli.main import app

if __name__ == "__main__":
    app(prog_name="voxqueue")
