//! The tenants: namespaces with the tenant label, or only the operator's own when that is its scope.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use ntro_crds::labels;
use ntro_journal::Journal;
use ntro_journal::protocol::RunTenant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Keeping, OwnLimits};
use crate::k8s::Access;

/// A tenant as its namespace describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// Name of the namespace.
    pub namespace: String,
    /// UID of the namespace: a namespace of the same name made later is another tenant.
    pub uid: String,
    /// The tenant's slug, unique by agreement only: what counts for isolation is the namespace.
    pub slug: String,
    /// The namespace is being deleted: nothing may be created in it.
    pub terminating: bool,
    /// How long its runs are kept after their end.
    pub keeping: Keeping,
    /// How much it and its runs may keep.
    pub limits: OwnLimits,
}

impl Tenant {
    /// As journals name it.
    pub(crate) fn of_runs(&self) -> RunTenant {
        RunTenant { slug: self.slug.clone(), namespace_uid: self.uid.clone() }
    }
}

/// All tenants by namespace.
pub(crate) type TenantMap = Arc<BTreeMap<String, Tenant>>;

/// The current tenants, and a way to hear of changes.
#[derive(Debug)]
pub(crate) struct Tenants {
    current: watch::Sender<TenantMap>,
    unprepared: watch::Sender<BTreeSet<String>>,
    listed: AtomicBool,
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            current: watch::Sender::new(TenantMap::default()),
            unprepared: watch::Sender::default(),
            listed: AtomicBool::new(false),
        }
    }
}

impl Tenants {
    /// The tenant of a namespace, if that is one.
    pub(crate) fn get(&self, namespace: &str) -> Option<Tenant> {
        self.current.borrow().get(namespace).cloned()
    }

    /// Whether the tenants are known: before their first list nobody is one.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// Whether this tenant has this namespace: the namespace with that UID, and under that slug.
    pub(crate) fn serves(&self, namespace: &str, tenant: &RunTenant) -> bool {
        let current = self.current.borrow();
        current.get(namespace).is_some_and(|now| now.uid == tenant.namespace_uid && now.slug == tenant.slug)
    }

    /// All tenants now.
    pub(crate) fn all(&self) -> TenantMap {
        self.current.borrow().clone()
    }

    /// Sees the current tenants at once and then every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<TenantMap> {
        let mut receiver = self.current.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// Whether the operator lacks the rights that preparing a tenant gives it in this namespace.
    pub(crate) fn is_unprepared(&self, namespace: &str) -> bool {
        self.unprepared.borrow().contains(namespace)
    }

    /// Sees every change of what [`Self::is_unprepared`] answers.
    pub(crate) fn subscribe_prepared(&self) -> watch::Receiver<BTreeSet<String>> {
        self.unprepared.subscribe()
    }

    /// Notes whether the operator has its rights in a namespace.
    pub(crate) fn set_prepared(&self, namespace: &str, prepared: bool) {
        self.unprepared
            .send_if_modified(|set| if prepared { set.remove(namespace) } else { set.insert(namespace.to_owned()) });
    }

    /// Replaces what is known of one namespace. `None` means it is not a tenant. A change comes after the first list.
    pub(crate) fn set(&self, namespace: &str, tenant: Option<Tenant>) {
        self.listed.store(true, Ordering::Release);
        self.current.send_if_modified(|map| {
            if map.get(namespace) == tenant.as_ref() {
                return false;
            }
            let map = Arc::make_mut(map);
            match tenant {
                Some(tenant) => map.insert(namespace.to_owned(), tenant),
                None => map.remove(namespace),
            };
            true
        });
    }

    fn replace(&self, next: BTreeMap<String, Tenant>) {
        self.current.send_if_modified(|map| {
            let changed = **map != next;
            if changed {
                *map = Arc::new(next);
            }
            changed
        });
        self.listed.store(true, Ordering::Release);
    }
}

/// What a namespace says about its tenant.
pub(crate) fn tenant_of(namespace: &Namespace) -> Option<Tenant> {
    let slug = namespace.labels().get(labels::TENANT).filter(|slug| !slug.is_empty())?;
    Some(Tenant {
        namespace: namespace.name_any(),
        uid: namespace.uid().unwrap_or_default(),
        slug: slug.clone(),
        terminating: namespace.metadata.deletion_timestamp.is_some(),
        keeping: Keeping::of(namespace.annotations()),
        limits: OwnLimits::of(namespace.annotations()),
    })
}

/// Keeps [`Tenants`], and what the journal knows of their limits, up to date until told to stop.
pub(crate) async fn watch(access: Access, tenants: Arc<Tenants>, journal: Journal, shutdown: CancellationToken) {
    let mut config = watcher::Config::default().labels(labels::TENANT);
    if let Some(namespace) = &access.namespace {
        config = config.fields(&format!("metadata.name={namespace}"));
    }
    let follow = async {
        let stream = watcher(Api::<Namespace>::all(access.client), config).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listed = BTreeMap::new();
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => {
                    bound(&tenants, &journal, &event);
                    observe(&tenants, &mut listed, event);
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(error = %crate::error::chain(&error), "watching namespaces failed"),
            }
        }
    };
    tokio::select! {
        () = follow => {}
        () = shutdown.cancelled() => {}
    }
}

/// Tells the journal the limits of a tenant, before anybody serves the tenant as it is now.
fn bound(tenants: &Tenants, journal: &Journal, event: &watcher::Event<Namespace>) {
    let (watcher::Event::InitApply(namespace) | watcher::Event::Apply(namespace)) = event else { return };
    let Some(Tenant { namespace, uid, limits, .. }) = tenant_of(namespace) else { return };
    journal.set_limits(&uid, limits.bounds);
    if tenants.get(&namespace).is_none_or(|known| known.limits != limits) {
        for annotation in &limits.unreadable {
            tracing::warn!(
                namespace,
                annotation,
                "the operator's limit counts: the annotation is not a number of bytes such as 64Mi"
            );
        }
    }
}

fn observe(tenants: &Tenants, listed: &mut BTreeMap<String, Tenant>, event: watcher::Event<Namespace>) {
    match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(namespace) => {
            if let Some(tenant) = tenant_of(&namespace) {
                listed.insert(tenant.namespace.clone(), tenant);
            }
        }
        watcher::Event::InitDone => tenants.replace(std::mem::take(listed)),
        watcher::Event::Apply(namespace) => tenants.set(&namespace.name_any(), tenant_of(&namespace)),
        watcher::Event::Delete(namespace) => tenants.set(&namespace.name_any(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, slug: Option<&str>) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        namespace.metadata.uid = Some(format!("uid-{name}"));
        namespace.metadata.labels = slug.map(|s| [(labels::TENANT.to_owned(), s.to_owned())].into());
        namespace
    }

    #[test]
    fn tenants_come_and_go_with_the_label() {
        let tenants = Tenants::default();
        let mut listed = BTreeMap::new();
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(namespace("acme", Some("acme"))),
            watcher::Event::InitApply(namespace("other", None)),
            watcher::Event::InitDone,
        ] {
            observe(&tenants, &mut listed, event);
        }
        assert_eq!(tenants.all().keys().collect::<Vec<_>>(), ["acme"]);

        let mut changes = tenants.subscribe();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        observe(&tenants, &mut listed, watcher::Event::Apply(namespace("acme", Some("acme"))));
        assert!(!changes.has_changed().unwrap(), "nothing changed");
        observe(&tenants, &mut listed, watcher::Event::Apply(namespace("beta", Some("beta"))));
        assert!(changes.has_changed().unwrap());
        observe(&tenants, &mut listed, watcher::Event::Delete(namespace("acme", Some("acme"))));
        assert_eq!(tenants.all().keys().collect::<Vec<_>>(), ["beta"]);
    }

    #[test]
    fn a_namespace_made_again_is_another_tenant() {
        let tenants = Tenants::default();
        let tenant = |slug: &str, uid: &str| RunTenant { slug: slug.to_owned(), namespace_uid: uid.to_owned() };
        let before = tenant("acme", "uid-acme");
        assert!(!tenants.serves("acme", &before), "nothing is served before it is known");
        tenants.set("acme", tenant_of(&namespace("acme", Some("acme"))));
        assert!(tenants.serves("acme", &before));
        assert!(!tenants.serves("beta", &before));
        tenants.set("acme", tenant_of(&namespace("acme", Some("other"))));
        assert!(!tenants.serves("acme", &before), "another slug");
        let mut again = namespace("acme", Some("acme"));
        again.metadata.uid = Some("another".to_owned());
        tenants.set("acme", tenant_of(&again));
        assert!(!tenants.serves("acme", &before), "another namespace of that name");
    }

    #[test]
    fn a_relist_forgets_what_was_missed() {
        let tenants = Tenants::default();
        tenants.set("gone", tenant_of(&namespace("gone", Some("gone"))));
        let mut listed = BTreeMap::new();
        observe(&tenants, &mut listed, watcher::Event::Init);
        observe(&tenants, &mut listed, watcher::Event::InitDone);
        assert!(tenants.get("gone").is_none());
    }

    #[tokio::test]
    async fn the_journal_is_told_what_a_tenant_may_keep() {
        let dir = tempfile::tempdir().unwrap();
        let settings = ntro_journal::JournalSettings::new(dir.path());
        let most = settings.limits;
        let clock = Arc::new(ntro_journal::SystemClock::default());
        let (tenants, journal) = (Tenants::default(), Journal::open(settings, clock).await.unwrap());
        let told = |bytes: Option<&str>, event: fn(Namespace) -> watcher::Event<Namespace>| {
            let mut namespace = namespace("acme", Some("acme"));
            let limit = |bytes: &str| [(labels::LIMITS_RUN_LOG.to_owned(), bytes.to_owned())].into();
            namespace.metadata.annotations = bytes.map(limit);
            bound(&tenants, &journal, &event(namespace));
            journal.limits("uid-acme").log_max
        };
        assert_eq!(told(Some("1Mi"), watcher::Event::InitApply), 1 << 20);
        assert_eq!(told(Some("2Mi"), watcher::Event::Apply), 2 << 20);
        assert_eq!(journal.limits("uid-beta"), most);
        assert_eq!(told(Some("1Ti"), watcher::Event::Apply), most.log_max, "at most the operator's");
        assert_eq!(told(Some("much"), watcher::Event::Apply), most.log_max);
        assert_eq!(told(Some("1Mi"), watcher::Event::Apply), 1 << 20);
        assert_eq!(told(None, watcher::Event::Apply), most.log_max);
    }
}
