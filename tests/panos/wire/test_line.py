"""HTTP on a connection: whatever way an answer is put into words, it is the same answer, and ends where it ends."""

import gc

import pytest

from tests.panos.peer import read_request
from uidsync.panos.wire.errors import Unreachable
from uidsync.panos.wire.line import Answer
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request

BODY = b'<response status="success"><result>%s</result></response>' % (b"ada " * 20)
HALF = len(BODY) // 2
CHUNKS = b"%X\r\n%s\r\n%x;name=value\r\n%s\r\n0\r\n" % (HALF, BODY[:HALF], len(BODY) - HALF, BODY[HALF:])
# What is said, and whether the connection can be used again.
WHOLE = {
    "by its length": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY), True),
    "in odd words": (b"HTTP/1.1 200\r\nX: y\r\ncontent-LENGTH:%d \r\n\r\n%s" % (len(BODY), BODY), True),
    "in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % CHUNKS, True),
    "with trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n%sX: y\r\nZ: z\r\n\r\n" % CHUNKS, True),
    "after a word to go on": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
        True,
    ),
    "after an early hint": (
        b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
        True,
    ),
    "with another one behind it": (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx"
        % (len(BODY), BODY),
        False,
    ),
    "with the beginning of another one behind it": (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 4" % (len(BODY), BODY),
        False,
    ),
    "the last one": (
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
        False,
    ),
    "of old": (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY), False),
    "to the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\n%s" % BODY, False),
}
NO_HTTP = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    "a length that is too long": b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nx" % (b"9" * 5000),
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a field in two lines": b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 1\r\n\r\nx",
    "lines that end too early": b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    "a chunk without a size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nx",
    "a chunk of a negative size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status that is none": b"HTTP/1.1 000 None\r\n\r\n%s" % (b"x" * 300_000),
    "a change to another protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n%s" % (b"X: y\r\n" * 50_000),
    "a line without end": b"HTTP/1.1 200 OK\r\nX: %s" % (b"y" * 300_000),
    "trailers without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s" % (b"X: y\r\n" * 50_000),
}


def saying(said, size=2**20):
    """Answer every request by these bytes, so many at a time; end the connection if nothing else ends the answer."""

    def serve(peer, tls):
        while request := read_request(tls):
            peer.heard.append(request)
            for start in range(0, len(said), size):
                tls.sendall(said[start : start + size])
            if b"\r\n\r\n<" in said and b"content-length" not in said.lower():
                return

    return serve


@pytest.mark.parametrize("kind", WHOLE)
def test_an_answer_is_read_to_its_end(run_peer, make_client, kind):
    """Each form of an answer gives its body; the next call goes over the same connection, unless the answer ends it."""
    said, is_kept = WHOLE[kind]
    peer = run_peer(saying(said))
    client = make_client(peer)
    assert [client.call(SYSTEM_INFO).findtext("result") for _ in range(3)] == ["ada " * 20] * 3
    assert peer.connections == (1 if is_kept else 3)


@pytest.mark.parametrize("size", [1, 2, 5, 37])
@pytest.mark.parametrize("kind", ["by its length", "in odd words", "with trailers", "after a word to go on"])
def test_how_an_answer_is_cut_on_its_way_does_not_matter(run_peer, make_client, kind, size):
    """However few bytes come at a time, the answer is the same, and the connection is kept."""
    peer = run_peer(saying(WHOLE[kind][0], size))
    client = make_client(peer)
    assert [client.call(SYSTEM_INFO).findtext("result") for _ in range(2)] == ["ada " * 20] * 2
    assert peer.connections == 1


@pytest.mark.parametrize("kind", NO_HTTP)
def test_what_is_not_http_is_told(run_peer, make_client, kind):
    """What no server says is a failure of the connection, which is not used again."""
    peer = run_peer(saying(NO_HTTP[kind]))
    client = make_client(peer)
    for _ in range(2):
        with pytest.raises(Unreachable, match=r"^what came is not HTTP: [A-Za-z].+ while asking https://"):
            client.call(SYSTEM_INFO)
    assert peer.connections == 2


@pytest.mark.parametrize("kind", ["by its length", "in chunks"])
@pytest.mark.parametrize("missing", [1, 10, len(BODY)])
def test_an_answer_that_ends_too_early_is_none(run_peer, make_client, kind, missing):
    """Part of an answer is not taken for all of it."""

    def serve(_, tls):
        read_request(tls)
        tls.sendall(WHOLE[kind][0][:-missing])

    with pytest.raises(Unreachable, match="broke off"):
        make_client(run_peer(serve)).call(SYSTEM_INFO)


def test_a_call_goes_out_in_one_write(run_peer, make_client):
    """Head and body of a message make one record of TLS: a host need not wait for the rest."""
    heard = []

    def serve(_, tls):
        heard.append(tls.recv(2**16))  # a record at most
        tls.sendall(WHOLE["by its length"][0])

    make_client(run_peer(serve)).call(Request("user-id", (("cmd", "x" * 10_000),)))
    assert heard[0].endswith(b"&cmd=" + b"x" * 10_000)


@pytest.mark.parametrize("kind", WHOLE)
def test_an_answer_leaves_no_garbage(run_peer, make_client, kind):
    """A run does not search for garbage: an answer that was read is gone without."""
    client = make_client(run_peer(saying(WHOLE[kind][0])))
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            client.call(SYSTEM_INFO)
        assert sum(isinstance(each, Answer) for each in gc.get_objects()) <= 1
    finally:
        gc.enable()
