"""Whatever bytes come, reading them as a call gives a call or a ValueError."""

from hypothesis import given
from hypothesis import strategies as st

from uidsync.simulator.call import read_call
from uidsync.simulator.message import read_document

CONTENT_TYPES = ["", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/xml", "x/y; z"]
BODIES = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [b"--b", b"--b--", b"\r\n", b'Content-Disposition: form-data; name="file"', b"key=", b"%", b"<a/>"]
        )
    ).map(b"\r\n".join),
)


@given(
    st.text(max_size=40).map(lambda query: f"/api/?{query}"),
    st.sampled_from(CONTENT_TYPES),
    st.sampled_from(["", "Basic YTpi", "Basic =", "Bearer x", "Basic é"]),
    BODIES,
)
def test_any_bytes(target, content_type, authorization, body):
    """A call has text for its parameters and bytes for its document, which is XML or is not."""
    try:
        call = read_call("POST", target, {"Content-Type": content_type, "Authorization": authorization}, body)
    except ValueError:
        return
    assert all(isinstance(text, str) for pair in call.parameters.items() for text in pair)
    assert call.key is None or call.key.encode() is not None
    if call.document is not None:
        read_document(call.document)
