//! Watches: what they see goes into a store, and whom it concerns into a queue.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::RunRef;
use crate::k8s::{Access, Kind};
use crate::queue::Queue;

/// Where a watch puts what it sees.
pub(crate) trait Sink<K>: Send + Sync + 'static {
    /// Stores an object; says whether its run is to be reconciled. `listed`: it was there already when the watch began.
    fn put(&self, run: RunRef, object: K, listed: bool) -> bool;
    /// Forgets an object; gives the run it belonged to.
    fn remove(&self, namespace: &str, name: &str) -> Option<RunRef>;
    /// Forgets what was not seen in a whole list of a namespace (of all namespaces if `None`); gives the runs concerned.
    fn retain(&self, namespace: Option<&str>, seen: &HashSet<(String, String)>) -> Vec<RunRef>;
}

/// Watches a kind into its sink and enqueues each run of which something changed, until told to stop.
pub(crate) async fn watch_into<K, S>(
    api: Api<K>,
    config: watcher::Config,
    namespace: Option<String>,
    sink: Arc<S>,
    run_of: fn(&K) -> Option<RunRef>,
    queue: Queue<RunRef>,
    shutdown: CancellationToken,
) where
    K: Kind + Send + Sync + 'static,
    S: Sink<K>,
{
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut seen = HashSet::new();
    let take = |object: K, listed: bool| {
        if let Some(run) = run_of(&object)
            && sink.put(run.clone(), object, listed)
        {
            queue.push(run);
        }
    };
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.try_next() => event,
        };
        match event {
            Ok(Some(watcher::Event::Init)) => seen.clear(),
            Ok(Some(watcher::Event::InitApply(object))) => {
                seen.insert((object.namespace().unwrap_or_default(), object.name_any()));
                take(object, true);
            }
            Ok(Some(watcher::Event::InitDone)) => {
                for run in sink.retain(namespace.as_deref(), &seen) {
                    queue.push(run);
                }
                seen = HashSet::new();
            }
            Ok(Some(watcher::Event::Apply(object))) => take(object, false),
            Ok(Some(watcher::Event::Delete(object))) => {
                let namespace = object.namespace().unwrap_or_default();
                if let Some(run) = sink.remove(&namespace, &object.name_any()) {
                    queue.push(run);
                }
            }
            Ok(None) => return,
            // The watcher retries by itself, with back-off.
            Err(error) => tracing::debug!(kind = %K::kind(&()), error = %crate::error::chain(&error), "watch failed"),
        }
    }
}

/// A store of all objects of a kind, and the watch that fills it and calls `changed` with each change until told to stop.
pub(crate) fn reflect<K, F>(
    access: &Access,
    changed: F,
    shutdown: CancellationToken,
) -> (Store<K>, impl Future<Output = ()> + Send + use<K, F>)
where
    K: Kind + Send + Sync + 'static,
    F: Fn(&K) + Send + 'static,
{
    let (store, writer) = reflector::store();
    let (api, config) = (access.all::<K>(), access.watch.clone());
    let watch = async move {
        let watch = watcher(api, config).default_backoff();
        // Who wrote which field is half of an object. Of interest is only when somebody last wrote the object itself.
        let watch = watch.modify(|object| {
            let fields = object.meta_mut().managed_fields.take();
            let own = fields.into_iter().flatten().filter(|write| write.subresource.is_none());
            let last = own.max_by(|a, b| a.time.cmp(&b.time));
            object.meta_mut().managed_fields =
                last.map(|last| vec![ManagedFieldsEntry { time: last.time, ..ManagedFieldsEntry::default() }]);
        });
        let stream = reflector::reflector(writer, watch);
        let mut stream = std::pin::pin!(stream.touched_objects());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                object = stream.next() => match object {
                    Some(Ok(object)) => changed(&object),
                    Some(Err(error)) => tracing::debug!(kind = %K::kind(&()), error = %crate::error::chain(&error), "watch failed"),
                    None => return,
                },
            }
        }
    };
    (store, watch)
}
