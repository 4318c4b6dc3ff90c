"""Starts the command, as `uidsync` or as `python -m uidsync`."""

import gc


def main() -> None:
    """Run the command line."""
    # All that is imported stays: to search it for garbage takes a fifth of the time that a command needs to start.
    gc.disable()
    from uidsync.cli import main as run  # noqa: PLC0415 (after the line above)

    run()


if __name__ == "__main__":
    main()
