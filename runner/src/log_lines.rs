//! From bytes of a pipe to lines of the run's log, whatever a program prints.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserializer as _, Visitor};

use crate::clock;

/// Longer lines are cut into pieces, in bytes.
pub(crate) const MAX_LINE: usize = 16 << 10;
/// A record of the logging module is one line of JSON, cut only when it is decoded.
const MAX_RECORD: usize = 1 << 20;
/// What waits beyond this is dropped and counted.
const MAX_PENDING: usize = 4 << 20;
const MAX_BATCH_LINES: usize = 200;
const MAX_BATCH_BYTES: usize = 128 << 10;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Logging,
}

/// A line on the wire.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) n: u64,
    pub(crate) stream: Stream,
    pub(crate) time: String,
    pub(crate) text: String,
}

/// Cuts the bytes of one pipe into lines.
#[derive(Debug)]
pub(crate) struct Splitter {
    stream: Stream,
    rest: Vec<u8>,
}

impl Splitter {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Takes some bytes; the lines that are whole now go to `lines`.
    pub(crate) fn take(&mut self, mut bytes: &[u8], lines: &mut LogLines) {
        let max = if self.stream == Stream::Logging { MAX_RECORD } else { MAX_LINE };
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, after) = bytes.split_at(end);
            self.rest.extend_from_slice(line);
            self.cut(max, lines);
            self.end(lines, true);
            bytes = after.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
        self.cut(max, lines);
    }

    /// What is there is a line, although it has no end.
    pub(crate) fn finish(&mut self, lines: &mut LogLines) {
        self.end(lines, false);
    }

    fn end(&mut self, lines: &mut LogLines, even_empty: bool) {
        let line = std::mem::take(&mut self.rest);
        if even_empty || !line.is_empty() {
            for text in texts(self.stream, &line) {
                lines.add(self.stream, text);
            }
        }
    }

    fn cut(&mut self, max: usize, lines: &mut LogLines) {
        while self.rest.len() > max {
            let after = self.rest.split_off(character_start(&self.rest, max));
            let piece = std::mem::replace(&mut self.rest, after);
            for text in texts(self.stream, &piece) {
                lines.add(self.stream, text);
            }
        }
    }
}

/// The lines of text that a line of the pipe stands for; log records come as one JSON string each.
fn texts(stream: Stream, line: &[u8]) -> Vec<String> {
    let record = (stream == Stream::Logging).then(|| json_string(line)).flatten();
    let text = String::from_utf8_lossy(record.as_deref().unwrap_or(line)).replace('\0', "\u{fffd}");
    text.split('\n').flat_map(pieces).collect()
}

fn pieces(mut text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    while text.len() > MAX_LINE {
        let (piece, rest) = text.split_at(character_start(text.as_bytes(), MAX_LINE));
        pieces.push(piece.to_owned());
        text = rest;
    }
    pieces.push(text.to_owned());
    pieces
}

/// The place at or shortly before `at` where a character begins; `at` if there is none.
fn character_start(bytes: &[u8], at: usize) -> usize {
    let begins = |place: &usize| bytes.get(*place).is_none_or(|byte| byte & 0xC0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(begins).unwrap_or(at)
}

/// A JSON string as bytes: what Python writes may hold halves of surrogate pairs, which are no text.
fn json_string(json: &[u8]) -> Option<Vec<u8>> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_owned())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let bytes = deserializer.deserialize_bytes(Bytes).ok()?;
    deserializer.end().ok().map(|()| bytes)
}

/// What a line takes in memory: an empty one is not free.
fn cost(text: &str) -> usize {
    text.len() + 128
}

/// Lines that wait to be sent, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct LogLines {
    waiting: VecDeque<Line>,
    bytes: usize,
    next: u64,
    dropped: u64,
}

impl LogLines {
    pub(crate) fn add(&mut self, stream: Stream, text: String) {
        if self.bytes + cost(&text) > MAX_PENDING {
            self.dropped += 1;
            return;
        }
        self.tell_dropped();
        self.push(stream, text);
    }

    /// Says how many lines were dropped, if any were since it was said last.
    pub(crate) fn tell_dropped(&mut self) {
        match std::mem::take(&mut self.dropped) {
            0 => {}
            n => self.push(Stream::Logging, format!("WARNING ntro.runtime: {n} lines were dropped")),
        }
    }

    fn push(&mut self, stream: Stream, text: String) {
        self.bytes += cost(&text);
        self.waiting.push_back(Line { n: self.next, stream, time: clock::now(), text });
        self.next += 1;
    }

    /// The number of the next line.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Takes out the oldest lines, as many as fit into a request.
    pub(crate) fn batch(&mut self) -> Vec<Line> {
        let (mut batch, mut size) = (Vec::new(), 0);
        while batch.len() < MAX_BATCH_LINES && size < MAX_BATCH_BYTES {
            let Some(line) = self.waiting.pop_front() else { break };
            size += cost(&line.text);
            batch.push(line);
        }
        self.bytes -= size;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these bytes, given in these parts.
    fn lines(stream: Stream, parts: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (Splitter::new(stream), LogLines::default());
        for part in parts {
            splitter.take(part, &mut lines);
        }
        splitter.finish(&mut lines);
        let mut texts = Vec::new();
        loop {
            let batch = lines.batch();
            if batch.is_empty() {
                return texts;
            }
            texts.extend(batch.into_iter().map(|line| line.text));
        }
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let parts: [&[u8]; 3] = [b"one\ntw", b"o\n\nthree \xff\0", b""];
        assert_eq!(lines(Stream::Stdout, &parts), ["one", "two", "", "three \u{fffd}\u{fffd}"]);
        assert_eq!(lines(Stream::Stdout, &[b"\n"]), [""]);
        assert_eq!(lines(Stream::Stderr, &[]), [""; 0]);
        // A character that comes in two parts.
        assert_eq!(lines(Stream::Stdout, &[b"\xc3", b"\xa9\n"]), ["é"]);
    }

    #[test]
    fn records_are_decoded_and_what_is_none_is_shown_as_it_is() {
        let record = br#""INFO x: a\nb \u0000 \ud800 \u00e9""#;
        assert_eq!(lines(Stream::Logging, &[record, b"\n"]), ["INFO x: a", "b \u{fffd} \u{fffd}\u{fffd}\u{fffd} é"]);
        assert_eq!(lines(Stream::Logging, &[b"bare\n\"half\n"]), ["bare", "\"half"]);
        let long = format!("\"{}\"\n", "x".repeat(MAX_LINE + 1));
        assert_eq!(lines(Stream::Logging, &[long.as_bytes()]), ["x".repeat(MAX_LINE), "x".to_owned()]);
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        let lengths = |bytes: &[u8]| lines(Stream::Stderr, &[bytes]).iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(lengths(&vec![b'x'; MAX_LINE * 2 + 10]), [MAX_LINE, MAX_LINE, 10]);
        assert_eq!(lengths(&[vec![b'x'; MAX_LINE * 2], b"\n".to_vec()].concat()), [MAX_LINE, MAX_LINE]);
        let wide = format!("x{}", "é".repeat(MAX_LINE / 2 + 3));
        let cut = lines(Stream::Stderr, &[wide.as_bytes()]);
        assert_eq!(cut.concat(), wide);
        assert_eq!(cut[0].len(), MAX_LINE - 1);
        // Bytes that begin no character are cut all the same; each becomes a replacement of three bytes.
        assert_eq!(lines(Stream::Stderr, &[&vec![0x80; MAX_LINE + 1]]).concat().chars().count(), MAX_LINE + 1);
        assert!(lengths(&vec![0x80; MAX_LINE + 1]).into_iter().all(|length| length <= MAX_LINE));
    }

    #[test]
    fn too_much_is_dropped_and_counted() {
        let mut lines = LogLines::default();
        let flood = 6000;
        for _ in 0..flood {
            lines.add(Stream::Stdout, "x".repeat(1023));
        }
        let mut kept = 0;
        loop {
            let batch = lines.batch();
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= MAX_BATCH_LINES);
            kept += batch.len();
        }
        assert_eq!(kept, MAX_PENDING / cost(&"x".repeat(1023)));
        lines.add(Stream::Stdout, "last".to_owned());
        let texts: Vec<_> = lines.batch().into_iter().map(|line| (line.n, line.text)).collect();
        let told = format!("WARNING ntro.runtime: {} lines were dropped", flood - kept);
        assert_eq!(texts, [(kept as u64, told), (kept as u64 + 1, "last".to_owned())]);
        lines.tell_dropped();
        assert!(lines.batch().is_empty());
    }
}
