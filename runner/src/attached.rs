//! What the operator says when a pod becomes the holder.

use std::collections::BTreeMap;
use std::time::Duration;

use ntro_bundle::reference::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_text::{JsonText, newest_seq};

/// Times of the settings.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "as on the wire")]
pub(crate) struct Settings {
    lease_ms: u64,
    outage_wait_ms: u64,
    cancel_grace_ms: u64,
    turn_limit_ms: Option<u64>,
}

impl Settings {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn outage_wait(&self) -> Duration {
        Duration::from_millis(self.outage_wait_ms)
    }

    pub(crate) fn cancel_grace(&self) -> Duration {
        Duration::from_millis(self.cancel_grace_ms)
    }

    /// How long workflow code may go without yielding, if the operator says so.
    pub(crate) fn turn_limit(&self) -> Option<Duration> {
        self.turn_limit_ms.map(Duration::from_millis)
    }
}

/// The parts of the reply that the supervisor needs.
pub(crate) struct Attached {
    pub(crate) session: String,
    pub(crate) run_id: String,
    pub(crate) segment: u64,
    pub(crate) epoch: u64,
    pub(crate) head: u64,
    pub(crate) entries: usize,
    pub(crate) layer: Option<Digest>,
    pub(crate) settings: Settings,
    /// All of it but the session, for the child.
    pub(crate) for_child: JsonText,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    session: String,
    run_id: String,
    segment: u64,
    epoch: u64,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
    settings: Settings,
    pin: Pin,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pin {
    #[serde(default)]
    layer_digest: Option<String>,
}

impl Attached {
    /// None if something of it is missing: what answered was not the operator.
    pub(crate) fn read(reply: &JsonText) -> Option<Self> {
        let wire: Wire<'_> = reply.read()?;
        let head = newest_seq(reply)?;
        let mut all: BTreeMap<&str, &RawValue> = reply.read()?;
        all.remove("session");
        let for_child = JsonText::object(serde_json::to_vec(&all).ok()?)?;
        Some(Self {
            run_id: wire.run_id,
            segment: wire.segment,
            epoch: wire.epoch,
            head,
            entries: wire.entries.len(),
            layer: wire.pin.layer_digest.and_then(|digest| digest.parse().ok()),
            settings: wire.settings,
            session: wire.session,
            for_child,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_child_gets_all_but_the_session() {
        let mut reply = json!({
            "session": "SECRET", "runId": "r", "segment": 1, "epoch": 2, "entries": [{"seq": 0}, {"seq": 1}], "more": true,
            "pin": {"layerDigest": "sha256:x"}, "other": [1.5],
            "settings": {"leaseMs": 1, "outageWaitMs": 2, "cancelGraceMs": 3, "turnLimitMs": 4, "inlineMax": 5},
        });
        let it = Attached::read(&JsonText::of(&reply)).unwrap();
        assert_eq!((it.epoch, it.head, it.entries, it.layer), (2, 1, 2, None));
        assert_eq!(it.settings.turn_limit(), Some(Duration::from_millis(4)));
        reply.as_object_mut().unwrap().remove("session");
        assert_eq!(it.for_child.read::<Value>().unwrap(), reply);
        assert!(Attached::read(&JsonText::of(&reply)).is_none());
    }
}
