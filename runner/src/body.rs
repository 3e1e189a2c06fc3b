//! What a request carries: bytes, or a file that is read while it is sent.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

const CHUNK: u64 = 64 << 10;

/// How many bytes of a body were taken so far: a request that advances is not abandoned.
pub(crate) type Progress = Rc<Cell<u64>>;

/// Made anew for every attempt, so a file is read from its beginning again.
pub(crate) enum Body {
    Whole(Option<Bytes>),
    File { file: Rc<File>, offset: u64, size: u64, progress: Progress },
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }

    /// The first `size` bytes of `file`, whatever its own position is: others may have it open too.
    pub(crate) fn file(file: Rc<File>, size: u64) -> Self {
        Self::File { file, offset: 0, size, progress: Progress::default() }
    }

    pub(crate) fn progress(&self) -> Progress {
        match self {
            Self::Whole(_) => Progress::default(),
            Self::File { progress, .. } => Rc::clone(progress),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File { file, offset, size, progress } => {
                if offset >= size {
                    return Poll::Ready(None);
                }
                let chunk = read_at(file, *offset, CHUNK.min(*size - *offset));
                if let Ok(chunk) = &chunk {
                    *offset += chunk.len() as u64;
                    progress.set(*offset);
                }
                Poll::Ready(Some(chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::File { offset, size, .. } => offset >= size,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::File { offset, size, .. } => SizeHint::with_exact(size.saturating_sub(*offset)),
        }
    }
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut chunk, offset)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    chunk.truncate(read);
    Ok(chunk.into())
}
