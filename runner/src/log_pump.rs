//! From the pipes of the child to the run's log stream.
//!
//! Everything the bundle prints or logs is payload: it goes to the journal and never to the container's own output.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::log_lines::{Line, LogLines, Splitter, Stream};

const CHUNK: usize = 64 << 10;
/// Lines come in bursts: gather a little, unless somebody waits for the last one.
const GATHER: Duration = Duration::from_millis(200);

struct Pipe {
    end: Receiver,
    splitter: RefCell<Splitter>,
}

/// The log is best effort: a batch that cannot be sent is lost, and the run goes on.
pub(crate) struct LogPump {
    pipes: Vec<Pipe>,
    lines: RefCell<LogLines>,
    /// The number of the next line that will be there.
    added: watch::Sender<u64>,
    /// Lines below this were sent or lost.
    settled: watch::Sender<u64>,
    flushing: watch::Sender<bool>,
}

impl LogPump {
    /// The reading ends of the child's pipes.
    pub(crate) fn new(pipes: impl IntoIterator<Item = (Stream, OwnedFd)>) -> io::Result<Self> {
        let open = |(stream, fd): (Stream, OwnedFd)| {
            Ok(Pipe { end: Receiver::from_owned_fd(fd)?, splitter: RefCell::new(Splitter::new(stream)) })
        };
        Ok(Self {
            pipes: pipes.into_iter().map(open).collect::<io::Result<_>>()?,
            lines: RefCell::default(),
            added: watch::Sender::new(0),
            settled: watch::Sender::new(0),
            flushing: watch::Sender::new(false),
        })
    }

    /// Reads until every pipe is closed.
    pub(crate) async fn read(&self) {
        let mut readers: Vec<_> = self.pipes.iter().map(|pipe| Box::pin(self.read_pipe(pipe))).collect();
        std::future::poll_fn(|context| {
            readers.retain_mut(|reader| reader.as_mut().poll(context).is_pending());
            if readers.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    async fn read_pipe(&self, pipe: &Pipe) {
        while pipe.end.readable().await.is_ok() {
            match self.take(pipe, |chunk| pipe.end.try_read(chunk)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }

    fn take(&self, pipe: &Pipe, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        let read = read(&mut chunk)?;
        let mut lines = self.lines.borrow_mut();
        pipe.splitter.borrow_mut().take(chunk.get(..read).unwrap_or_default(), &mut lines);
        self.added.send_replace(lines.next());
        Ok(read)
    }

    /// Sends batches for ever. `send` does what it can.
    pub(crate) async fn write(&self, send: impl AsyncFn(Vec<Line>)) {
        let mut added = self.added.subscribe();
        let mut flushing = self.flushing.subscribe();
        loop {
            let settled = *self.settled.borrow();
            if added.wait_for(|next| *next > settled).await.is_err() {
                return;
            }
            let batch = self.lines.borrow_mut().batch();
            let upto = batch.last().map_or(settled, |line| line.n + 1);
            send(batch).await;
            self.settled.send_replace(upto);
            let _ = timeout(GATHER, flushing.wait_for(|flushing| *flushing)).await;
        }
    }

    /// Waits until everything written to the pipes so far was sent. False if that took too long.
    pub(crate) async fn flush(&self, limit: Duration) -> bool {
        let upto = self.take_all_available();
        self.added.send_replace(upto);
        self.flushing.send_replace(true);
        let mut settled = self.settled.subscribe();
        let done = timeout(limit, settled.wait_for(|settled| *settled >= upto)).await.is_ok();
        self.flushing.send_replace(false);
        done
    }

    /// The number of the line after the last of them.
    fn take_all_available(&self) -> u64 {
        for pipe in &self.pipes {
            self.take_available(pipe);
        }
        let mut lines = self.lines.borrow_mut();
        lines.tell_dropped();
        lines.next()
    }

    /// What is in the pipe now, however much comes after it, and whether or not its reader knows already.
    fn take_available(&self, pipe: &Pipe) {
        let mut left = rustix::io::ioctl_fionread(&pipe.end).unwrap_or(0);
        while left > 0 {
            match self.take(pipe, |chunk| Ok(rustix::io::read(&pipe.end, chunk)?)) {
                Ok(read) if read > 0 => left = left.saturating_sub(read as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        pipe.splitter.borrow_mut().finish(&mut self.lines.borrow_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write as _};

    use super::*;

    fn pump() -> (LogPump, [PipeWriter; 3]) {
        let [(a, out), (b, err), (c, logging)] = [(); 3].map(|()| io::pipe().unwrap());
        let pipes = [(Stream::Stdout, a), (Stream::Stderr, b), (Stream::Logging, c)].map(|(s, r)| (s, r.into()));
        (LogPump::new(pipes).unwrap(), [out, err, logging])
    }

    #[tokio::test]
    async fn a_flush_sends_what_was_written_before_it() {
        let (pump, [mut out, mut err, mut logging]) = pump();
        let sent = RefCell::new(Vec::new());
        let writing = pump.write(async |lines| sent.borrow_mut().extend(lines));
        let test = async {
            out.write_all(b"one\ntw").unwrap();
            out.write_all(b"o\nrest").unwrap();
            logging.write_all(b"\"a\\nb\"\n").unwrap();
            err.write_all(b"e\n").unwrap();
            // Nobody has read yet: the flush does.
            assert!(pump.flush(Duration::from_secs(10)).await);
        };
        tokio::select! {
            () = test => {}
            () = writing => {}
        }
        let sent = sent.into_inner();
        let texts =
            |stream| sent.iter().filter(|line| line.stream == stream).map(|line| &*line.text).collect::<Vec<_>>();
        assert_eq!(texts(Stream::Stdout), ["one", "two", "rest"]);
        assert_eq!(texts(Stream::Stderr), ["e"]);
        assert_eq!(texts(Stream::Logging), ["a", "b"]);
        assert_eq!(sent.iter().map(|line| line.n).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_flush_is_bounded() {
        let (pump, [mut out, ..]) = pump();
        out.write_all(b"never sent\n").unwrap();
        let writing = pump.write(async |_| std::future::pending().await);
        tokio::select! {
            done = pump.flush(Duration::from_millis(50)) => assert!(!done),
            () = writing => {}
        }
    }

    #[tokio::test]
    async fn a_flood_never_blocks_its_writer() {
        let (pump, [mut out, ..]) = pump();
        let gate = watch::Sender::new(false);
        let sent = RefCell::new(Vec::new());
        let writing = pump.write(async |lines| {
            let _ = gate.subscribe().wait_for(|open| *open).await;
            sent.borrow_mut().extend(lines);
        });
        let line = [vec![b'x'; 1023], b"\n".to_vec()].concat();
        let flood = tokio::task::spawn_blocking(move || {
            (0..6000).for_each(|_| out.write_all(&line).unwrap());
            out
        });
        let test = async {
            // The writer is done although nothing was sent.
            let mut out = flood.await.unwrap();
            gate.send_replace(true);
            assert!(pump.flush(Duration::from_secs(20)).await);
            out.write_all(b"last\n").unwrap();
            assert!(pump.flush(Duration::from_secs(20)).await);
        };
        tokio::select! {
            () = test => {}
            () = writing => {}
            () = pump.read() => {}
        }
        let sent = sent.into_inner();
        assert_eq!(sent.last().unwrap().text, "last");
        assert_eq!(sent.iter().filter(|line| line.text.contains("lines were dropped")).count(), 1);
        assert!(sent.len() < 6000);
    }
}
