//! JSON of the operator that is passed on as it came.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The text of one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonText(Vec<u8>);

impl JsonText {
    /// None if it is something else: what answered was not the operator.
    pub(crate) fn object(mut text: Vec<u8>) -> Option<Self> {
        if text.is_empty() {
            text.extend_from_slice(b"{}");
        }
        let begins = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if !begins || std::str::from_utf8(&text).is_err() {
            return None;
        }
        serde_json::from_slice::<IgnoredAny>(&text).ok()?;
        // Line ends can only be white space between tokens; here a line is a message.
        text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        Some(Self(text))
    }

    /// What `value` is as text.
    pub(crate) fn of(value: &Value) -> Self {
        Self(value.to_string().into_bytes())
    }

    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Some of its fields.
    pub(crate) fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_slice(&self.0).ok()
    }
}

/// The newest `seq` of the entries in a reply.
pub(crate) fn newest_seq(reply: &JsonText) -> Option<u64> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(default)]
        entries: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        seq: u64,
    }
    reply.read::<Reply>()?.entries.last().map(|entry| entry.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        JsonText::object(bytes.to_vec()).map(|it| String::from_utf8(it.0).unwrap())
    }

    #[test]
    fn only_objects_pass_and_on_one_line() {
        assert_eq!(text(b" {\"a\":\r\n [1.50, \"\\n\"]}\n").unwrap(), " {\"a\":   [1.50, \"\\n\"]} ");
        assert_eq!(text(b"").unwrap(), "{}");
        for garbled in [&b"[]"[..], b"7", b"<html>", b"{\"a\":1", b"{} {}", b"{\"a\": \"\xff\"}", b" "] {
            assert_eq!(text(garbled), None, "{garbled:?}");
        }
    }

    #[test]
    fn the_newest_entry_is_the_last() {
        let newest = |bytes: &[u8]| newest_seq(&JsonText::object(bytes.to_vec()).unwrap());
        assert_eq!(newest(br#"{"entries":[{"seq":3,"type":"x"},{"seq":4}],"more":true}"#), Some(4));
        assert_eq!(newest(br#"{"entries":[]}"#), None);
        assert_eq!(newest(b"{}"), None);
    }
}
