//! Lets clients in whose `:authority` is a percent-encoded path.
//!
//! gRPC's C core, and with it the clients in Python, C++, Ruby and others, sends the encoded path of a Unix socket as
//! `:authority` (`run%2Fcountersign%2Fworkload.sock`). Our HTTP/2 library refuses that as malformed. Nothing here looks at
//! the authority, so each `%` and `/` of it is turned into `-` on its way in. All three are six bits long in HPACK's Huffman
//! code (RFC 7541, Appendix B), so no length changes, neither on the wire nor in the tables of both sides, and the rest of
//! the stream goes through as it came. A header block is held until it is whole, 16 KiB at most; nothing else is held.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hpack;

/// The bytes that a client begins with (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// Bytes of a frame's header (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;
/// Most bytes of the frames of one header block.
const BLOCK: usize = 16 * 1024;
/// Bytes that are read at once.
const READ: usize = 4 * 1024;

/// Frame types and flags (RFC 9113 §6.2, §6.10).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A connection whose incoming header blocks are mended.
#[derive(Debug)]
pub(crate) struct PlainAuthority<S> {
    stream: S,
    mender: Mender,
    /// Bytes that may go on, from `given` on.
    ready: Vec<u8>,
    given: usize,
}

impl<S> PlainAuthority<S> {
    /// Around a new connection.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, mender: Mender::default(), ready: Vec::new(), given: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PlainAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            let waiting = this.ready.get(this.given..).unwrap_or_default();
            if !waiting.is_empty() {
                let now = waiting.get(..waiting.len().min(buffer.remaining())).unwrap_or_default();
                buffer.put_slice(now);
                this.given = this.given.saturating_add(now.len());
                if this.given >= this.ready.len() {
                    // Nothing is kept for a quiet connection.
                    (this.ready, this.given) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; READ];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.mender.push(read.filled(), &mut this.ready)?;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PlainAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Finds the header blocks in what a client sends.
#[derive(Debug, Default)]
struct Mender {
    /// Bytes of the preface that were seen.
    preface: usize,
    /// The header of the next frame, as far as it came.
    header: Vec<u8>,
    /// What is left of a frame that goes through as it is.
    passing: usize,
    /// The header block that is on its way.
    block: Option<Block>,
}

/// A header block and the frames around it.
#[derive(Debug, Default)]
struct Block {
    /// The frames as they came.
    frames: Vec<u8>,
    /// Where in them the parts of the block are.
    parts: Vec<std::ops::Range<usize>>,
    /// What is missing of the newest frame.
    missing: usize,
    /// Flags of the newest frame.
    flags: u8,
    /// Where its payload begins.
    payload: usize,
    /// Whether it is the first one, whose payload has more than the block.
    first: bool,
    stream: [u8; 4],
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Mender {
    /// Takes what came, and puts what may go on to the end of `out`.
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            if let Some(left) = PREFACE.checked_sub(self.preface).filter(|left| *left > 0) {
                let now = take(&mut bytes, left);
                self.preface = self.preface.saturating_add(now.len());
                out.extend_from_slice(now);
            } else if self.passing > 0 {
                let now = take(&mut bytes, self.passing);
                self.passing = self.passing.saturating_sub(now.len());
                out.extend_from_slice(now);
            } else if let Some(block) = self.block.as_mut().filter(|block| block.missing > 0) {
                let now = take(&mut bytes, block.missing);
                block.missing = block.missing.saturating_sub(now.len());
                block.frames.extend_from_slice(now);
                self.finish(out)?;
            } else {
                let left = FRAME_HEADER.saturating_sub(self.header.len());
                self.header.extend_from_slice(take(&mut bytes, left));
                if self.header.len() == FRAME_HEADER {
                    self.begin(out)?;
                }
            }
        }
        Ok(())
    }

    /// Decides what becomes of the frame whose header is complete.
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let header = std::mem::take(&mut self.header);
        let &[a, b, c, kind, flags, ref stream @ ..] = header.as_slice() else { return Err(malformed("a frame")) };
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(io::Error::other)?;
        let stream: [u8; 4] = stream.try_into().map_err(io::Error::other)?;
        let mut block = match (self.block.take(), kind) {
            (None, HEADERS) => Block { first: true, stream, ..Block::default() },
            (Some(block), CONTINUATION) if block.stream == stream => Block { first: false, ..block },
            (Some(_), _) => return Err(malformed("a header block in one piece")),
            (None, _) => {
                out.extend_from_slice(&header);
                self.passing = length;
                return Ok(());
            }
        };
        if block.frames.len().saturating_add(FRAME_HEADER).saturating_add(length) > BLOCK {
            return Err(malformed("headers of at most 16 KiB"));
        }
        block.frames.extend_from_slice(&header);
        (block.missing, block.flags, block.payload) = (length, flags, block.frames.len());
        self.block = Some(block);
        self.finish(out)
    }

    /// Lets a block go when it is complete.
    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut block) = self.block.take() else { return Ok(()) };
        if block.missing == 0 {
            let part = block.part().ok_or_else(|| malformed("padding within the frame"))?;
            block.parts.push(part);
            if block.flags & END_HEADERS != 0 {
                block.mend();
                out.append(&mut block.frames);
                return Ok(());
            }
        }
        self.block = Some(block);
        Ok(())
    }
}

impl Block {
    /// Where the block's part of the newest frame is (RFC 9113 §6.2).
    fn part(&self) -> Option<std::ops::Range<usize>> {
        let (mut start, mut end) = (self.payload, self.frames.len());
        if self.first {
            if self.flags & PADDED != 0 {
                let padding = usize::from(*self.frames.get(start)?);
                start = start.checked_add(1)?;
                end = end.checked_sub(padding)?;
            }
            if self.flags & PRIORITY != 0 {
                start = start.checked_add(5)?;
            }
        }
        (start <= end).then_some(start..end)
    }

    /// Mends the authority in place. A block that is not HPACK goes on as it is: the library behind us refuses it.
    fn mend(&mut self) {
        let mut whole = Vec::new();
        for part in &self.parts {
            whole.extend_from_slice(self.frames.get(part.clone()).unwrap_or_default());
        }
        if hpack::plain_authority(&mut whole).is_none() {
            return;
        }
        let mut mended = whole.as_slice();
        for part in &self.parts {
            let place = self.frames.get_mut(part.clone()).unwrap_or_default();
            place.copy_from_slice(take(&mut mended, part.len()));
        }
    }
}

/// The next `length` bytes, or as many as there are.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (now, later) = bytes.split_at(length.min(bytes.len()));
    *bytes = later;
    now
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::as_conversions, reason = "tests")]

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// A client's bytes: preface, SETTINGS, and a block of `:authority` and the rest, in the given frames.
    fn client(frames: &[Vec<u8>]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frames.concat()].concat()
    }

    fn mended(bytes: &[u8], pieces: usize) -> io::Result<Vec<u8>> {
        let (mut mender, mut out) = (Mender::default(), Vec::new());
        for piece in bytes.chunks(pieces) {
            mender.push(piece, &mut out)?;
        }
        assert!(mender.block.is_none(), "nothing is held back");
        Ok(out)
    }

    /// `:authority: a%2Fb` as a literal with its name from the static table.
    const BLOCK_IN: &[u8] = b"\x41\x05a%2Fb";
    const BLOCK_OUT: &[u8] = b"\x41\x05a-2Fb";

    #[test]
    fn the_authority_is_mended_however_the_bytes_arrive() {
        let around = |block: &[u8]| {
            let (first, rest) = block.split_at(3);
            client(&[
                frame(0, 0, 1, b"\x41\x05a%2Fb"),
                frame(HEADERS, END_HEADERS, 1, block),
                frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 3, &[&[2, 0, 0, 0, 0, 9], block, &[0, 0]].concat()),
                frame(HEADERS, 0, 5, first),
                frame(CONTINUATION, 0, 5, b""),
                frame(CONTINUATION, END_HEADERS, 5, rest),
                frame(6, 0, 0, b"pingpong"),
            ])
        };
        for pieces in [1, 2, 7, 64, 4096] {
            assert_eq!(mended(&around(BLOCK_IN), pieces).unwrap(), around(BLOCK_OUT), "{pieces}");
        }
    }

    #[test]
    fn what_is_not_hpack_goes_through_as_it_is() {
        for block in [&b"\x41\x85a"[..], b"\x41", b"\x7f\xff\xff\xff\xff\xff\xff", b"\x00"] {
            let bytes = client(&[frame(HEADERS, END_HEADERS, 1, block)]);
            assert_eq!(mended(&bytes, 4096).unwrap(), bytes);
        }
    }

    #[test]
    fn nothing_without_a_bound_is_held() {
        let long = client(&[frame(HEADERS, 0, 1, &[0; 9000]), frame(CONTINUATION, 0, 1, &[0; 9000])]);
        let other = client(&[frame(HEADERS, 0, 1, b""), frame(0, 0, 1, b"data")]);
        let elsewhere = client(&[frame(HEADERS, 0, 1, b""), frame(CONTINUATION, END_HEADERS, 3, b"")]);
        let padded = client(&[frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0])]);
        // Empty frames without end are many headers, too.
        let endless = client(&[vec![frame(HEADERS, 0, 1, b"")], vec![frame(CONTINUATION, 0, 1, b""); 4000]].concat());
        for wrong in [long, other, elsewhere, padded, endless] {
            let (mut mender, mut out) = (Mender::default(), Vec::new());
            assert!(mender.push(&wrong, &mut out).is_err());
        }
    }
}
