//! The socket to the child: bytes, and open descriptors that travel beside them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream as AsyncStream;
use tokio::sync::Mutex;

const CHUNK: usize = 64 << 10;

pub(crate) struct Channel {
    socket: AsyncStream,
    /// Held while a message is written: messages never mix.
    writing: Mutex<()>,
}

impl Channel {
    pub(crate) fn new(ours: UnixStream) -> io::Result<Self> {
        ours.set_nonblocking(true)?;
        Ok(Self { socket: AsyncStream::from_std(ours)?, writing: Mutex::default() })
    }

    /// Receives some bytes, and the descriptors that came with them. None if the other end is closed.
    pub(crate) async fn receive(
        &self,
        bytes: &mut Vec<u8>,
        descriptors: &mut VecDeque<OwnedFd>,
    ) -> io::Result<Option<()>> {
        let mut chunk = vec![0; CHUNK];
        let receive = || receive_some(self.socket.as_fd(), &mut chunk, descriptors);
        let read = match self.socket.async_io(Interest::READABLE, receive).await {
            // It was closed with replies unread, as by a child that leaves while it polls.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok((read > 0).then_some(()))
    }

    /// Sends a message. A descriptor goes with its first byte.
    pub(crate) async fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        let (mut rest, mut descriptor) = (message, descriptor);
        while !rest.is_empty() {
            let sent =
                self.socket.async_io(Interest::WRITABLE, || send_some(self.socket.as_fd(), rest, descriptor)).await?;
            descriptor = None;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }
}

fn receive_some(socket: BorrowedFd<'_>, chunk: &mut [u8], descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            descriptors.extend(files);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than a request has"));
    }
    Ok(received.bytes)
}

fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = descriptor.into_iter().collect();
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn descriptors_come_with_their_message() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "content").unwrap();
        let file = File::open(dir.path().join("f")).unwrap();
        // Longer than the socket's buffer: it goes in parts.
        let message = vec![b'x'; 3 << 20];
        let (mut bytes, mut descriptors) = (Vec::new(), VecDeque::new());
        let receiving = async {
            while bytes.len() < message.len() {
                theirs.receive(&mut bytes, &mut descriptors).await.unwrap().unwrap();
            }
        };
        let (sent, ()) = tokio::join!(ours.send(&message, Some(file.as_fd())), receiving);
        sent.unwrap();
        assert!(bytes == message);
        assert_eq!(descriptors.len(), 1);
        let mut text = String::new();
        File::from(descriptors.pop_front().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        drop(ours);
        assert!(theirs.receive(&mut bytes, &mut descriptors).await.unwrap().is_none());
    }
}
