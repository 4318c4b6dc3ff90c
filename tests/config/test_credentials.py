"""Secrets are files: where they are looked for, and what is said when there is none."""

import os
import stat
from pathlib import Path

import pytest

from uidsync.config.credentials import CREDENTIALS, SecretFiles
from uidsync.config.values import SecretError


@pytest.fixture
def warned():
    """Collect the files that are warned of."""
    return []


@pytest.fixture
def credentials(tmp_path):
    """Make the service's directory of credentials."""
    (tmp_path / "credentials").mkdir()
    return tmp_path / "credentials"


@pytest.fixture
def secrets(credentials, warned):
    """Make the search for secrets, as a service of systemd has it."""
    return SecretFiles({"CREDENTIALS_DIRECTORY": str(credentials)}, warned.append)


def write(file, text, mode=0o600):
    """Write a secret to a file that so many may read."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def test_secrets_are_looked_for_in_order(secrets, credentials, tmp_path):
    """First the service's credentials, then the system's directory; a file that is named comes before both."""
    with pytest.raises(SecretError) as raised:
        secrets.read(None, "fw-api-key")
    places = (credentials / "fw-api-key", CREDENTIALS / "fw-api-key")
    assert str(raised.value).endswith(", ".join(map(str, places)))
    write(credentials / "fw-api-key", "second")
    assert secrets.read(None, "fw-api-key") == "second"
    explicit = write(tmp_path / "explicit", "first")
    assert secrets.read(explicit, "fw-api-key") == "first"
    assert secrets.find(explicit, "fw-api-key") == explicit


@pytest.mark.parametrize("kind", ["missing", "a broken link", "in a missing directory", "in a file"])
def test_a_named_file_that_is_missing_is_an_error(secrets, credentials, tmp_path, kind):
    """Where the configuration names a file, no other place is looked at: an old secret there would be used silently."""
    write(credentials / "fw-api-key", "another")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "file", "text")
    names = {"a broken link": "link", "in a missing directory": "no/key", "in a file": "file/key"}
    named = tmp_path / names.get(kind, "key")
    for look in (secrets.find, secrets.read):
        with pytest.raises(SecretError, match=f"the configuration names {named} ") as raised:
            look(named, "fw-api-key")
        assert f"to use {CREDENTIALS}/fw-api-key" in str(raised.value)


def test_without_credentials_the_system_s_directory_is_left(warned):
    """Outside of a service there are the explicit file and the system's directory."""
    with pytest.raises(SecretError, match=f"looked for {CREDENTIALS}/nobody-has-this$"):
        SecretFiles({}, warned.append).read(None, "nobody-has-this")


@pytest.mark.parametrize(
    ("mode", "is_exposed"),
    [(0o600, False), (0o640, False), (0o660, False), (0o644, True), (0o604, True), (0o602, True)],
)
def test_a_secret_that_others_can_use_is_warned_of(secrets, warned, tmp_path, mode, is_exposed):
    """A file that others can read or replace works, and is warned of."""
    file = write(tmp_path / "key", "secret", mode)
    assert secrets.read(file, "fw-api-key") == "secret"
    assert warned == ([file] if is_exposed else [])
    assert file.stat().st_mode & stat.S_IRWXU == stat.S_IRUSR | stat.S_IWUSR


@pytest.mark.parametrize("text", ["secret", "secret\n", "secret\r\n", " secret ", "s\u00e9cr\u00e9t"])
def test_a_secret_is_a_line(secrets, tmp_path, text):
    """The line end is not part of a secret; blanks are."""
    assert secrets.read(write(tmp_path / "key", text), "x") == text.rstrip("\r\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "is empty") for text in ("", "\n")),
        ("two\nlines", "more than one line"),
        *((text, "") for text in ("a\tb", "\x1b[2J", b"\xff\xfe", b"\0")),
        ("a\u200bb", "cannot be printed"),
        ("x" * 2**17, "too long"),
        ("secret".encode("utf-16"), "UTF-8"),
    ],
)
def test_what_is_wrong_with_a_secret_is_told(secrets, tmp_path, text, words):
    """What is no line of text is an error that names the file and the fault, and not what is in it."""
    file = write(tmp_path / "key", text)
    with pytest.raises(SecretError, match=rf"{file}.*{words}") as raised:
        secrets.read(file, "x")
    assert "lines" not in str(raised.value)


def test_a_mark_that_an_editor_puts_before_the_text_is_no_secret(secrets, tmp_path):
    """The mark of UTF-8 at the beginning, which some editors write, is passed over."""
    assert secrets.read(write(tmp_path / "key", b"\xef\xbb\xbfsecret\r\n"), "x") == "secret"


@pytest.mark.parametrize(("make", "kind"), [(Path.mkdir, "directory"), (os.mkfifo, "pipe")])
def test_what_is_no_file_is_told_for_what_it_is(secrets, tmp_path, make, kind):
    """A directory or a pipe in the place of a secret is named, and not waited for."""
    make(tmp_path / "key")
    with pytest.raises(SecretError, match=f"is not a file but a {kind}"):
        secrets.read(tmp_path / "key", "x")


def test_a_place_that_lets_nobody_in_is_told(secrets, tmp_path):
    """Where we may not look, as in a directory of another group, that is said: the secret may well be there."""
    closed = tmp_path / "closed"
    closed.symlink_to(closed)  # this lets not even root in
    with pytest.raises(SecretError, match=rf"names {closed}/key \(.+\);"):
        secrets.read(closed / "key", "x")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "/"])
def test_a_secret_s_path_that_is_none_is_told(secrets, path):
    """Whatever is given for a file, an error of ours comes."""
    with pytest.raises(SecretError):
        secrets.read(Path(path), "x")
