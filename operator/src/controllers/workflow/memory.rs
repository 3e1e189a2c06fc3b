//! What is remembered of each Workflow from one reconcile to the next. Losing it costs writes, never slots.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;
use ntro_crds::{Workflow, WorkflowStatus};

use crate::k8s::NamespacedName;

/// Only a Workflow's own reconcile touches its entry, and the queue lets one worker at a time have a key. An entry without content is
/// removed: there may be ten thousand Workflows.
#[derive(Default)]
pub(super) struct Memory(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    memos: HashMap<NamespacedName, Memo>,
    armed: usize,
}

/// Boxed: there may be thousands for a moment, and the table keeps the room.
#[derive(Default)]
struct Memo {
    /// What was last written, until the watch shows it: nothing is written twice.
    written: Option<Box<Written>>,
    done: Option<Box<Done>>,
    /// A slot to come is waited for.
    armed: bool,
}

impl Memo {
    fn is_empty(&self) -> bool {
        self.written.is_none() && self.done.is_none() && !self.armed
    }
}

/// A status as it was written, and what the API server called the result.
struct Written {
    resource_version: Option<String>,
    status: WorkflowStatus,
}

/// A Workflow that was reconciled during a burst: until it changes or the time has come, there is nothing to do but to tell
/// how its runs are.
pub(super) struct Done {
    pub uid: Option<String>,
    pub generation: Option<i64>,
    pub until: Option<Timestamp>,
}

impl Done {
    pub(super) fn holds(&self, workflow: &Workflow, now: Timestamp) -> bool {
        let same = self.uid == workflow.uid() && self.generation == workflow.metadata.generation;
        same && self.until.is_none_or(|until| now < until)
    }
}

impl Memory {
    /// The status as it is: what was last written counts until the watch shows that or something newer.
    pub(super) fn last_status(&self, key: &NamespacedName, workflow: &Workflow) -> Option<WorkflowStatus> {
        let number = |version: Option<&String>| version.and_then(|version| version.parse::<u64>().ok());
        self.with(key, |memo| {
            if let Some(last) = &memo.written {
                let ours = number(last.resource_version.as_ref());
                let seen = number(workflow.metadata.resource_version.as_ref());
                if ours.zip(seen).is_some_and(|(ours, seen)| seen < ours) {
                    return Some(last.status.clone());
                }
                memo.written = None;
            }
            workflow.status.clone()
        })
    }

    pub(super) fn wrote(&self, key: &NamespacedName, resource_version: Option<String>, status: WorkflowStatus) {
        self.with(key, |memo| memo.written = Some(Box::new(Written { resource_version, status })));
    }

    pub(super) fn take_done(&self, key: &NamespacedName) -> Option<Box<Done>> {
        self.with(key, |memo| memo.done.take())
    }

    pub(super) fn put_done(&self, key: &NamespacedName, done: Box<Done>) {
        self.with(key, |memo| memo.done = Some(done));
    }

    /// Notes whether a slot to come is waited for. If that changed, `tell` is given how many Workflows wait for one, in the
    /// order of the changes.
    pub(super) fn arm(&self, key: &NamespacedName, armed: bool, tell: impl FnOnce(usize)) {
        let before = self.with(key, |memo| std::mem::replace(&mut memo.armed, armed));
        if before != armed {
            let mut inner = self.lock();
            if armed {
                inner.armed += 1;
            } else {
                inner.armed -= 1;
            }
            // Under the lock: told outside of it, two changes at once could leave the older count behind.
            tell(inner.armed);
        }
    }

    /// Forgets a Workflow that is gone, but for [`Self::arm`].
    pub(super) fn forget(&self, key: &NamespacedName) {
        self.with(key, |memo| *memo = Memo { armed: memo.armed, ..Memo::default() });
    }

    fn with<T>(&self, key: &NamespacedName, change: impl FnOnce(&mut Memo) -> T) -> T {
        let mut inner = self.lock();
        if let Some(memo) = inner.memos.get_mut(key) {
            let answer = change(memo);
            if memo.is_empty() {
                inner.memos.remove(key);
            }
            return answer;
        }
        let mut memo = Memo::default();
        let answer = change(&mut memo);
        if !memo.is_empty() {
            inner.memos.insert(key.clone(), memo);
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armed_workflows_are_counted_once_and_an_empty_entry_goes() {
        let (memory, a, b) = (Memory::default(), NamespacedName::new("acme", "a"), NamespacedName::new("acme", "b"));
        let arm = |key, armed| {
            let mut told = None;
            memory.arm(key, armed, |count| told = Some(count));
            told
        };
        assert_eq!(arm(&a, false), None);
        assert_eq!((arm(&a, true), arm(&a, true), arm(&b, true)), (Some(1), None, Some(2)));
        memory.forget(&a);
        assert_eq!((arm(&a, false), arm(&b, false)), (Some(1), Some(0)));
        assert!(memory.lock().memos.is_empty());
    }

    #[test]
    fn what_was_written_counts_until_the_watch_shows_it() {
        let (memory, key) = (Memory::default(), NamespacedName::new("acme", "nav"));
        let ours = WorkflowStatus { observed_generation: Some(7), ..WorkflowStatus::default() };
        memory.wrote(&key, Some("12".to_owned()), ours.clone());
        let mut workflow: Workflow = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "nav", "resourceVersion": "11"}, "spec": {"runbookRef": {"name": "nav"}, "entity": "e"},
        }))
        .unwrap();
        assert_eq!(memory.last_status(&key, &workflow), Some(ours));
        workflow.metadata.resource_version = Some("12".to_owned());
        assert_eq!(memory.last_status(&key, &workflow), None);
        assert!(memory.lock().memos.is_empty());
    }
}
