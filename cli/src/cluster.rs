//! The connection to the API server: kubeconfig, impersonation, who we are.

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::args::Global;
use crate::error::{Failure, Result, chain};

/// A client for one context, and the namespace that commands work in.
#[derive(Clone)]
pub struct Cluster {
    /// The client, impersonating if asked to.
    pub client: Client,
    tenant: Option<String>,
    namespace: Option<String>,
    context_namespace: String,
}

/// A user as the API server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// User name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl Cluster {
    /// Connects as the global flags say.
    pub async fn connect(global: &Global) -> Result<Self> {
        let mut config = config(global).await?;
        if let Some(user) = &global.impersonate {
            config.headers.push((HeaderName::from_static("impersonate-user"), header(user)?));
        }
        for group in &global.impersonate_groups {
            config.headers.push((HeaderName::from_static("impersonate-group"), header(group)?));
        }
        let context_namespace = config.default_namespace.clone();
        let client = Client::try_from(config)
            .map_err(|e| Failure::Other(format!("cannot connect to the cluster: {}", chain(&e))))?;
        Ok(Self { client, tenant: global.tenant.clone(), namespace: global.namespace.clone(), context_namespace })
    }

    /// The namespace to work in: `--namespace`, else the one named after `--tenant`, else the context's.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().or(self.tenant.as_deref()).unwrap_or(&self.context_namespace)
    }

    /// Who the API server takes us for.
    pub async fn whoami(&self) -> Result<Person> {
        let review: SelfSubjectReview = Api::all(self.client.clone())
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await
            .map_err(|e| Failure::from_kube("ask the API server who you are", e))?;
        let user: UserInfo = review.status.and_then(|s| s.user_info).unwrap_or_default();
        let name = user.username.ok_or_else(|| Failure::Other("the API server did not say who you are".into()))?;
        Ok(Person { name, groups: user.groups.unwrap_or_default() })
    }
}

async fn config(global: &Global) -> Result<Config> {
    let options = KubeConfigOptions { context: global.context.clone(), ..Default::default() };
    let loaded = match &global.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .map_err(|e| Failure::Usage(format!("cannot read the kubeconfig {}: {}", path.display(), chain(&e))))?;
            Config::from_custom_kubeconfig(file, &options).await
        }
        None => Config::from_kubeconfig(&options).await,
    };
    loaded.map_err(|e| {
        Failure::Usage(format!("no usable kubeconfig: {}; name one with --kubeconfig or KUBECONFIG", chain(&e)))
    })
}

fn header(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| Failure::Usage(format!("`{value}` is no user or group name")))
}
