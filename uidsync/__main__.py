"""Starts the command, as `uidsync` or as `python -m uidsync`."""

import gc


def main() -> None:
    """Run the command line."""
    # To search for garbage what is imported, and stays, takes a third of the time that a command needs to start and to
    # end. Most have ended before there is any; those that go on for long enable it again.
    gc.disable()
    from uidsync.cli import main as run  # noqa: PLC0415 (after the line above)

    try:
        run()
    finally:
        gc.freeze()  # nor is it searched when Python ends


if __name__ == "__main__":
    main()
