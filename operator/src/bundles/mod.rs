//! Bundles: fetched by digest with the credentials of their namespace, checked, kept on disk by (namespace, repository,
//! digest), and served to pods from there. What was fetched once needs no registry any more.

mod pinned;
mod store;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use ntro_bundle::credentials::{self, CredentialError, Credentials};
use ntro_bundle::error::BundleErrorClass;
use ntro_bundle::reference::{Digest, Repository, Tag};
use ntro_bundle::registry::{Registry, RegistryError, RegistrySettings};
use ntro_crds::Reason;
use ntro_crds::Runbook;
use thiserror::Error;

pub(crate) use pinned::Pinned;
pub(crate) use store::Bundle;
use store::{Key, Store};

use crate::error::{Class, Classified};
use crate::metrics::{Outcome, RegistryOp, SharedMetrics};

/// Limit of one request to a registry.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time until something that others have to provide is looked for again.
const RETRY: Duration = Duration::from_secs(30);
/// Key of a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// How a namespace reaches a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// The tenant's namespace.
    pub namespace: String,
    /// Where bundles are.
    pub repository: Repository,
    /// Plain HTTP.
    pub insecure: bool,
    /// Name of the Secret with credentials.
    pub secret: Option<String>,
}

impl Access {
    fn key(&self, digest: &Digest) -> Key {
        Key { namespace: self.namespace.clone(), repository: self.repository.clone(), digest: digest.clone() }
    }
}

/// Why a bundle is not at hand.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    /// The Secret is not there.
    #[error("Secret `{0}` with the registry's credentials does not exist")]
    SecretMissing(String),
    /// The operator has no right to read the Secret.
    #[error("the operator may not read Secret `{0}`: name it in `registrySecrets` of the tenant chart")]
    SecretForbidden(String),
    /// The Secret is not of the right kind.
    #[error("Secret `{0}` has no key `.dockerconfigjson`: it must be of type kubernetes.io/dockerconfigjson")]
    SecretKind(String),
    /// The Secret's content is not usable.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The registry, or what it holds.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The Runbook that says how to reach the repository is gone, and the bundle is not on disk.
    #[error("Runbook `{0}` is gone or names another repository, and the bundle is not on the data volume")]
    SourceGone(String),
    /// The data volume.
    #[error("the data volume cannot be used")]
    Io(#[from] io::Error),
    /// The Kubernetes API.
    #[error("Kubernetes API")]
    Kube(#[from] kube::Error),
    /// A part of this program failed.
    #[error("internal error: {0}")]
    Internal(String),
}

/// The reaction to an error of the bundle library.
pub(crate) fn class(class: BundleErrorClass) -> Class {
    match class {
        BundleErrorClass::Invalid => Class::Invalid,
        BundleErrorClass::Waiting => Class::Waiting { after: RETRY },
        BundleErrorClass::Transient => Class::Transient,
        BundleErrorClass::Bug => Class::Bug,
    }
}

impl Classified for BundleError {
    fn class(&self) -> Class {
        match self {
            // Secrets are not watched: they are looked at again.
            Self::SecretMissing(_)
            | Self::SecretForbidden(_)
            | Self::SecretKind(_)
            | Self::Credentials(_)
            | Self::SourceGone(_) => Class::Waiting { after: RETRY },
            Self::Registry(error) => class(error.class()),
            Self::Io(_) => Class::Transient,
            Self::Kube(error) => error.class(),
            Self::Internal(_) => Class::Bug,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::SecretMissing(_) => Reason::SecretMissing,
            Self::SecretForbidden(_) => Reason::SecretForbidden,
            Self::SecretKind(_) => Reason::SecretInvalid,
            Self::Credentials(error) => Reason::named(error.reason()),
            Self::Registry(error) => Reason::named(error.reason()),
            Self::SourceGone(_) => Reason::SourceGone,
            Self::Io(_) => Reason::VolumeFailed,
            Self::Kube(error) => error.reason(),
            Self::Internal(_) => Reason::InternalError,
        }
    }
}

/// A fetch under way, shared by all who want the same bundle.
type Flight = tokio::sync::Mutex<()>;

/// The bundles of all tenants.
pub(crate) struct Bundles {
    client: Client,
    metrics: SharedMetrics,
    store: Store,
    flights: Mutex<HashMap<Key, Weak<Flight>>>,
}

impl Bundles {
    /// Bundles kept below `root`.
    pub(crate) fn new(root: PathBuf, client: Client, metrics: SharedMetrics) -> Self {
        Self { client, metrics, store: Store::new(root), flights: Mutex::default() }
    }

    /// All tags of the repository.
    pub(crate) async fn tags(&self, access: &Access) -> Result<Vec<Tag>, BundleError> {
        let registry = self.registry(access).await?;
        self.counted(RegistryOp::Tags, registry.tags(&access.repository).await)
    }

    /// The digest a tag stands for now.
    pub(crate) async fn resolve(&self, access: &Access, tag: &Tag) -> Result<Digest, BundleError> {
        let registry = self.registry(access).await?;
        self.counted(RegistryOp::Resolve, registry.resolve(&access.repository, tag).await)
    }

    /// Whether a bundle is on disk.
    pub(crate) async fn is_cached(&self, access: &Access, digest: &Digest) -> Result<bool, BundleError> {
        let key = access.key(digest);
        self.on_disk(move |store| store.describe(&key)).await.map(|bundle| bundle.is_some())
    }

    /// A bundle by its digest: from disk, or fetched and checked. Those who ask together wait for one fetch.
    pub(crate) async fn ensure(&self, access: &Access, digest: &Digest) -> Result<Bundle, BundleError> {
        let key = access.key(digest);
        let looked = key.clone();
        if let Some(bundle) = self.on_disk(move |store| store.describe(&looked)).await? {
            return Ok(bundle);
        }
        let flight = self.flight(&key);
        let _turn = flight.lock().await;
        let looked = key.clone();
        if let Some(bundle) = self.on_disk(move |store| store.describe(&looked)).await? {
            return Ok(bundle);
        }
        let registry = self.registry(access).await?;
        let pulled = self.counted(RegistryOp::Pull, registry.pull(&access.repository, digest).await)?;
        let bundle = Bundle { digest: pulled.digest, layer_digest: pulled.layer_digest, config: pulled.config };
        let (kept, layer) = (bundle.clone(), pulled.layer);
        self.on_disk(move |store| store.save(&key, &kept, &layer)).await?;
        tracing::info!(namespace = access.namespace, digest = %digest, "fetched a bundle");
        Ok(bundle)
    }

    /// The layer a run is pinned to. If it is not on disk any more it is fetched again as its Runbook says.
    pub(crate) async fn layer_of(&self, pinned: &Pinned) -> Result<Vec<u8>, BundleError> {
        let key = pinned.key();
        if let Some(bytes) = self.on_disk(move |store| store.layer(&key)).await? {
            return Ok(bytes);
        }
        let access = self.access_of(pinned).await?;
        self.ensure(&access, &pinned.digest).await?;
        let key = pinned.key();
        let bytes = self.on_disk(move |store| store.layer(&key)).await?;
        bytes.ok_or_else(|| BundleError::Internal("a bundle that was just kept is not there".to_owned()))
    }

    async fn access_of(&self, pinned: &Pinned) -> Result<Access, BundleError> {
        let gone = || BundleError::SourceGone(pinned.runbook.clone());
        let runbooks: Api<Runbook> = Api::namespaced(self.client.clone(), &pinned.namespace);
        let runbook = runbooks.get_opt(&pinned.runbook).await?.ok_or_else(gone)?;
        let source = runbook.spec.source;
        if source.url.parse() != Ok(pinned.repository.clone()) {
            return Err(gone());
        }
        Ok(Access {
            namespace: pinned.namespace.clone(),
            repository: pinned.repository.clone(),
            insecure: source.insecure.unwrap_or(false),
            secret: source.secret_ref.map(|secret| secret.name),
        })
    }

    /// Removes the bundles of a repository that are not in `keep`.
    pub(crate) async fn retain(
        &self,
        namespace: &str,
        repository: &Repository,
        keep: BTreeSet<Digest>,
    ) -> Result<(), BundleError> {
        let (namespace, repository) = (namespace.to_owned(), repository.clone());
        self.on_disk(move |store| store.retain(&namespace, &repository, &keep)).await
    }

    /// A client with the credentials of this namespace, made afresh: a Secret that was rotated counts at once, and no
    /// tenant ever speaks with the credentials of another.
    async fn registry(&self, access: &Access) -> Result<Registry, BundleError> {
        let credentials = match &access.secret {
            None => Credentials::Anonymous,
            Some(name) => self.credentials(access, name).await?,
        };
        let settings = RegistrySettings {
            plain_http: access.insecure,
            credentials,
            timeout: TIMEOUT,
            ..RegistrySettings::default()
        };
        Ok(Registry::new(settings)?)
    }

    async fn credentials(&self, access: &Access, name: &str) -> Result<Credentials, BundleError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &access.namespace);
        let secret = match secrets.get_opt(name).await {
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                return Err(BundleError::SecretForbidden(name.to_owned()));
            }
            found => found?.ok_or_else(|| BundleError::SecretMissing(name.to_owned()))?,
        };
        let data = secret.data.unwrap_or_default();
        let json = data.get(DOCKER_CONFIG).ok_or_else(|| BundleError::SecretKind(name.to_owned()))?;
        Ok(credentials::from_dockerconfigjson(&json.0, &access.repository)?)
    }

    fn counted<T>(&self, op: RegistryOp, result: Result<T, RegistryError>) -> Result<T, BundleError> {
        let outcome = match result.as_ref().map_err(RegistryError::class) {
            Ok(_) => Outcome::Success,
            Err(BundleErrorClass::Invalid) => Outcome::Invalid,
            Err(BundleErrorClass::Waiting) => Outcome::Waiting,
            Err(BundleErrorClass::Transient) => Outcome::Transient,
            Err(BundleErrorClass::Bug) => Outcome::Bug,
        };
        self.metrics.registry_request(op, outcome);
        Ok(result?)
    }

    fn flight(&self, key: &Key) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), Arc::downgrade(&flight));
        flight
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(Store) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BundleError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(store)).await;
        done.map_err(|error| BundleError::Internal(error.to_string()))?.map_err(BundleError::Io)
    }
}
