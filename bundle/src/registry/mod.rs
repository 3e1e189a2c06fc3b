//! Bundles in OCI registries: push, pull, tag to digest, list of tags.

mod error;
mod http;
mod retry;
mod settings;
mod verify;

use std::fmt;

use bytes::Bytes;
use futures::StreamExt as _;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;

use self::error::ErrorContext;
pub use self::error::RegistryError;
use self::http::Authorization;
pub use self::settings::RegistrySettings;
use crate::artifact::{
    self, BundleConfig, BundleManifest, Descriptor, INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, MAX_MANIFEST,
};
use crate::credentials::Credentials;
use crate::pack::PackedBundle;
use crate::reference::{Digest, Repository, Tag};

/// Tags asked for per page.
const PAGE: usize = 1000;
/// Pages read before giving up on a list.
const MAX_PAGES: usize = 1000;
/// Largest page of tags, in bytes.
const MAX_PAGE: u64 = 4 << 20;
/// Docker's own manifest types are asked for too, so that a container image is named as such when it is refused.
const DOCKER_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
                            application/vnd.docker.distribution.manifest.list.v2+json";
const DIGEST_HEADER: &str = "Docker-Content-Digest";

/// What to do when a version is already there with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Fail: versions are immutable.
    Refuse,
    /// Replace it; everyone who pinned the version rather than the digest sees other content from now on.
    Force,
}

/// A bundle that is now in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the artifact.
    pub digest: Digest,
    /// Whether anything had to be written; `false` if the same content was there already.
    pub written: bool,
}

/// A bundle fetched and verified: every digest, the archive's rules, and that its description agrees with its
/// `runbook.md`.
#[derive(Debug, Clone)]
pub struct PulledBundle {
    /// Digest of the artifact.
    pub digest: Digest,
    /// Its description.
    pub config: BundleConfig,
    /// The gzipped tar; see [`crate::unpack::unpack`].
    pub layer: Bytes,
    /// Digest of [`Self::layer`].
    pub layer_digest: Digest,
}

/// A client for one set of credentials. Clones share connections.
///
/// Make a new one when credentials change, and never share one between tenants: tokens are cached inside.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    http: reqwest::Client,
    settings: RegistrySettings,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// Sets up a client. A TLS provider must have been installed; see the crate documentation.
    pub fn new(settings: RegistrySettings) -> Result<Self, RegistryError> {
        let roots = settings.roots()?;
        let invalid = |error: String| RegistryError::SettingsInvalid(crate::finding::one_line(&error));
        let certificates = roots.iter().map(reqwest::Certificate::try_from).collect::<Result<Vec<_>, _>>();
        let http = reqwest::Client::builder()
            .tls_certs_merge(certificates.map_err(|error| invalid(error.to_string()))?)
            .connect_timeout(settings.timeout)
            .read_timeout(settings.timeout)
            .user_agent(concat!("ntro/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let client = Client::try_from(ClientConfig {
            protocol: if settings.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: roots,
            connect_timeout: Some(settings.timeout),
            read_timeout: Some(settings.timeout),
            user_agent: concat!("ntro/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .map_err(|error| invalid(error.to_string()))?;
        Ok(Self { client, http, settings })
    }

    /// The digest a tag points at now.
    pub async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Digest, RegistryError> {
        let shown = format!("{repository}:{tag}");
        let context = self.context(repository, &shown);
        self.retry(&context, || self.resolve_once(repository, tag, &context)).await
    }

    async fn resolve_once(
        &self,
        repository: &Repository,
        tag: &Tag,
        context: &ErrorContext<'_>,
    ) -> Result<Digest, RegistryError> {
        let authorization = self.authorize(repository, RegistryOperation::Pull, context).await?;
        let url = self.url(repository, &format!("manifests/{tag}"), context)?;
        let accept = manifest_types();
        let head = http::send(&self.http, Method::HEAD, url.clone(), &accept, &authorization, context).await?;
        if let Some(digest) = head.headers().get(DIGEST_HEADER) {
            return digest
                .to_str()
                .ok()
                .and_then(|digest| digest.parse().ok())
                .ok_or_else(|| context.protocol("invalid digest of the manifest"));
        }
        let response = http::send(&self.http, Method::GET, url, &accept, &authorization, context).await?;
        Ok(Digest::of(&http::read(response, MAX_MANIFEST, context).await?))
    }

    /// All tags of a repository, in the registry's order.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        let shown = repository.to_string();
        let context = self.context(repository, &shown);
        self.retry(&context, || self.tags_once(repository, &context)).await
    }

    async fn tags_once(&self, repository: &Repository, context: &ErrorContext<'_>) -> Result<Vec<Tag>, RegistryError> {
        let authorization = self.authorize(repository, RegistryOperation::Pull, context).await?;
        let first = self.url(repository, &format!("tags/list?n={PAGE}"), context)?;
        let mut tags: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut next = Some(first.clone());
        for _ in 0..MAX_PAGES {
            let Some(url) = next else { break };
            let response =
                http::send(&self.http, Method::GET, url.clone(), "application/json", &authorization, context).await?;
            let headers = response.headers().clone();
            let body = http::read(response, MAX_PAGE, context).await?;
            let page: TagPage = serde_json::from_slice(&body).map_err(|_| context.protocol("invalid list of tags"))?;
            let page = page.tags.unwrap_or_default();
            let (length, last) = (page.len(), page.last().cloned());
            let before = tags.len();
            tags.extend(page.into_iter().filter(|tag| seen.insert(tag.clone())));
            next = http::next_page(&url, &headers, context)?;
            // A registry that ends a page at our limit without a link may still have more.
            if next.is_none() && length == PAGE {
                next = last.map(|last| {
                    let mut url = first.clone();
                    url.query_pairs_mut().append_pair("last", &last);
                    url
                });
            }
            // A registry that serves the same page again has no more tags.
            if tags.len() == before {
                next = None;
            }
        }
        // Tags a registry should not have are of no use to anyone.
        Ok(tags.iter().filter_map(|tag| tag.parse().ok()).collect())
    }

    /// The description of a bundle, without its files.
    pub async fn inspect(&self, repository: &Repository, digest: &Digest) -> Result<BundleConfig, RegistryError> {
        let shown = format!("{repository}@{digest}");
        let context = self.context(repository, &shown);
        let manifest = self.manifest(repository, digest, &context).await?;
        self.config(repository, &manifest, &context).await
    }

    /// Fetches a bundle and verifies all of it.
    pub async fn pull(&self, repository: &Repository, digest: &Digest) -> Result<PulledBundle, RegistryError> {
        let shown = format!("{repository}@{digest}");
        let context = self.context(repository, &shown);
        let manifest = self.manifest(repository, digest, &context).await?;
        let config = self.config(repository, &manifest, &context).await?;
        let layer = self.blob(repository, &manifest.layer, &context).await?;
        let verified = (layer.clone(), config.clone(), self.settings.limits, shown.clone());
        tokio::task::spawn_blocking(move || {
            let (layer, config, limits, shown) = verified;
            verify::content(&layer, &config, &limits, &shown)
        })
        .await
        .map_err(|error| RegistryError::Internal(error.to_string()))??;
        Ok(PulledBundle { digest: digest.clone(), config, layer, layer_digest: manifest.layer.digest })
    }

    /// Pushes a bundle under a tag. Pushing what is already there writes nothing; other content under an existing
    /// version tag is refused unless forced. Other tags move freely.
    pub async fn push(
        &self,
        repository: &Repository,
        tag: &Tag,
        bundle: &PackedBundle,
        overwrite: Overwrite,
    ) -> Result<Pushed, RegistryError> {
        let version = tag.to_version();
        if version.as_ref().is_some_and(|version| *version != bundle.config.version) {
            return Err(RegistryError::TagMismatch { tag: tag.clone(), version: bundle.config.version.clone() });
        }
        let existing = match self.resolve(repository, tag).await {
            Ok(digest) => Some(digest),
            Err(RegistryError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        if let Some(existing) = existing {
            // The compressor may differ between builds of this program; the content then does not.
            let same = existing == bundle.digest
                || match self.inspect(repository, &existing).await {
                    Ok(config) => config == bundle.config,
                    Err(RegistryError::ManifestInvalid { .. } | RegistryError::NotFound(_)) => false,
                    Err(error) => return Err(error),
                };
            if same {
                return Ok(Pushed { digest: existing, written: false });
            }
            if version.is_some() && overwrite == Overwrite::Refuse {
                let (repository, tag) = (repository.clone(), tag.clone());
                return Err(RegistryError::VersionExists { repository, tag, existing });
            }
        }
        self.write(repository, tag, bundle).await?;
        Ok(Pushed { digest: bundle.digest.clone(), written: true })
    }

    async fn write(&self, repository: &Repository, tag: &Tag, bundle: &PackedBundle) -> Result<(), RegistryError> {
        let shown = format!("{repository}:{tag}");
        let context = self.context(repository, &shown);
        let reference = self::reference(repository, tag);
        for blob in [&bundle.layer, &bundle.config_bytes] {
            let digest = Digest::of(blob);
            self.retry(&context, || async {
                self.authorize(repository, RegistryOperation::Push, &context).await?;
                let client_error = |error| context.client(error);
                if !self.client.blob_exists(&reference, digest.as_str()).await.map_err(client_error)? {
                    self.client.push_blob(&reference, blob.clone(), digest.as_str()).await.map_err(client_error)?;
                }
                Ok(())
            })
            .await?;
        }
        self.retry(&context, || async {
            self.authorize(repository, RegistryOperation::Push, &context).await?;
            let media_type = HeaderValue::from_static(MANIFEST_MEDIA_TYPE);
            let pushed = self.client.push_manifest_raw(&reference, bundle.manifest_bytes.clone(), media_type).await;
            pushed.map(|_| ()).map_err(|error| context.client(error))
        })
        .await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        context: &ErrorContext<'_>,
    ) -> Result<BundleManifest, RegistryError> {
        let bytes = self
            .retry(context, || async {
                let authorization = self.authorize(repository, RegistryOperation::Pull, context).await?;
                let url = self.url(repository, &format!("manifests/{digest}"), context)?;
                let response =
                    http::send(&self.http, Method::GET, url, &manifest_types(), &authorization, context).await?;
                http::read(response, MAX_MANIFEST, context).await
            })
            .await?;
        verify_digest(&bytes, digest, context)?;
        artifact::parse_manifest(&bytes, &self.settings.limits).map_err(|error| context.manifest_invalid(error))
    }

    async fn config(
        &self,
        repository: &Repository,
        manifest: &BundleManifest,
        context: &ErrorContext<'_>,
    ) -> Result<BundleConfig, RegistryError> {
        let bytes = self.blob(repository, &manifest.config, context).await?;
        artifact::parse_config(&bytes).map_err(|error| context.manifest_invalid(error))
    }

    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        context: &ErrorContext<'_>,
    ) -> Result<Bytes, RegistryError> {
        let reference = self::reference(repository, &descriptor.digest);
        self.retry(context, || async {
            self.authorize(repository, RegistryOperation::Pull, context).await?;
            // By digest alone: a descriptor may list other addresses, which are not followed.
            let stream = self.client.pull_blob_stream(&reference, descriptor.digest.as_str()).await;
            let mut stream = stream.map_err(|error| context.client(error))?.stream;
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.next().await {
                match chunk {
                    Ok(chunk) if bytes.len() as u64 + chunk.len() as u64 > descriptor.size => {
                        return Err(context.protocol("blob larger than declared in the manifest"));
                    }
                    Ok(chunk) => bytes.extend_from_slice(&chunk),
                    // The stream verifies too, at its end; a complete blob that fails is not a broken connection.
                    Err(_) if bytes.len() as u64 == descriptor.size => break,
                    Err(error) => return Err(context.client(error.into())),
                }
            }
            verify_digest(&bytes, &descriptor.digest, context)?;
            Ok(bytes.into())
        })
        .await
    }

    /// Authenticates before the first request: on its own, the OCI client continues anonymously if that fails.
    async fn authorize(
        &self,
        repository: &Repository,
        operation: RegistryOperation,
        context: &ErrorContext<'_>,
    ) -> Result<Authorization, RegistryError> {
        let auth = match &self.settings.credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { username, password } => RegistryAuth::Basic(username.clone(), password.clone()),
        };
        let reference = Reference::with_tag(repository.host().to_owned(), repository.path().to_owned(), String::new());
        let token = self.client.auth(&reference, &auth, operation).await.map_err(|error| context.client(error))?;
        Ok(token.map_or_else(|| Authorization::Credentials(self.settings.credentials.clone()), Authorization::Token))
    }

    fn url(&self, repository: &Repository, rest: &str, context: &ErrorContext<'_>) -> Result<Url, RegistryError> {
        let reference = Reference::with_tag(repository.host().to_owned(), repository.path().to_owned(), String::new());
        let scheme = if self.settings.plain_http { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/{rest}", reference.resolve_registry(), reference.repository());
        url.parse().map_err(|_| context.protocol("invalid URL"))
    }

    fn context<'a>(&self, repository: &'a Repository, reference: &'a str) -> ErrorContext<'a> {
        ErrorContext { repository, reference, anonymous: self.settings.credentials == Credentials::Anonymous }
    }

    async fn retry<T, Fut>(&self, context: &ErrorContext<'_>, operation: impl Fn() -> Fut) -> Result<T, RegistryError>
    where
        Fut: Future<Output = Result<T, RegistryError>>,
    {
        retry::retry(self.settings.timeout, context, operation).await
    }
}

fn reference(repository: &Repository, tag_or_digest: &impl ToString) -> Reference {
    let (host, path, text) = (repository.host().to_owned(), repository.path().to_owned(), tag_or_digest.to_string());
    if text.contains(':') { Reference::with_digest(host, path, text) } else { Reference::with_tag(host, path, text) }
}

fn manifest_types() -> String {
    format!("{MANIFEST_MEDIA_TYPE}, {INDEX_MEDIA_TYPE}, {DOCKER_TYPES}")
}

fn verify_digest(bytes: &[u8], expected: &Digest, context: &ErrorContext<'_>) -> Result<(), RegistryError> {
    let found = Digest::of(bytes);
    if found == *expected {
        return Ok(());
    }
    Err(RegistryError::DigestMismatch { reference: context.reference.to_owned(), found, expected: expected.clone() })
}
