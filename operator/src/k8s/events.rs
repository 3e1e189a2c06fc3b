//! Publishing Events.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::FIELD_MANAGER;
use crate::error::{MAX_MESSAGE, truncate};

/// Events after which a recorder is replaced: it remembers all it has published for minutes, to count repetitions, and a
/// restart or a month's end has tens of thousands that never repeat.
const REMEMBERED: usize = 500;

/// Publishes events. Telling is a courtesy: a failure to do so is logged and goes no further.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    reporter: Reporter,
    current: Arc<Mutex<(Recorder, usize)>>,
}

impl Events {
    /// Events reported by the pod of this name.
    pub(crate) fn new(client: Client, pod_name: Option<String>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: pod_name };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, current: Arc::new(Mutex::new((recorder, 0))) }
    }

    /// For an event that is never counted as the repetition of an earlier one: it has the same reason, and tells of something else.
    #[must_use]
    pub(crate) fn unaggregated(&self) -> Self {
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        Self { current: Arc::new(Mutex::new((recorder, 0))), ..self.clone() }
    }

    fn recorder(&self) -> Recorder {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1 >= REMEMBERED {
            *current = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        current.1 += 1;
        current.0.clone()
    }

    /// Publishes one event about an object. `reason` is from a fixed set and tells events apart; `action` is what was
    /// being done; `note` is for a person and holds no payload.
    pub(crate) async fn publish(
        &self,
        about: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(truncate(note, MAX_MESSAGE)),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder().publish(&event, about).await {
            tracing::warn!(reason, error = %crate::error::chain(&error), "could not publish an event");
        }
    }
}
