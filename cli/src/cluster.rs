//! The connection to the API server: kubeconfig, impersonation, and who the caller is.

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::args::GlobalArgs;
use crate::error::{Failure, Result, chain};

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    tenant: Option<String>,
    namespace: Option<String>,
    context_namespace: String,
}

/// The caller, as the API server authenticated them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl Cluster {
    pub(crate) async fn connect(global: &GlobalArgs) -> Result<Self> {
        let mut config = config(global).await?;
        if let Some(user) = &global.impersonate {
            config.headers.push((HeaderName::from_static("impersonate-user"), header("user", user)?));
        }
        for group in &global.impersonate_groups {
            config.headers.push((HeaderName::from_static("impersonate-group"), header("group", group)?));
        }
        let context_namespace = config.default_namespace.clone();
        let client = Client::try_from(config)
            .map_err(|e| Failure::Other(format!("cannot connect to the cluster: {}", chain(&e))))?;
        Ok(Self { client, tenant: global.tenant.clone(), namespace: global.namespace.clone(), context_namespace })
    }

    /// `--namespace`, else the namespace named after `--tenant`, else that of the context.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().or(self.tenant.as_deref()).unwrap_or(&self.context_namespace)
    }

    pub(crate) async fn whoami(&self) -> Result<Person> {
        let review: SelfSubjectReview = Api::all(self.client.clone())
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await
            .map_err(|e| Failure::from_kube("look up your user name", e))?;
        let user: UserInfo = review.status.and_then(|s| s.user_info).unwrap_or_default();
        let name = user
            .username
            .ok_or_else(|| Failure::Other("cannot look up your user name: none in the API server's answer".into()))?;
        Ok(Person { name, groups: user.groups.unwrap_or_default() })
    }
}

async fn config(global: &GlobalArgs) -> Result<Config> {
    let options = KubeConfigOptions { context: global.context.clone(), ..Default::default() };
    let loaded = match &global.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .map_err(|e| Failure::Usage(format!("cannot read kubeconfig `{}`: {}", path.display(), chain(&e))))?;
            Config::from_custom_kubeconfig(file, &options).await
        }
        None => Config::from_kubeconfig(&options).await,
    };
    loaded
        .map_err(|e| Failure::Usage(format!("no valid kubeconfig: {}; set `--kubeconfig` or `KUBECONFIG`", chain(&e))))
}

fn header(kind: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value)
        .map_err(|_| Failure::Usage(format!("invalid {kind} `{value}`: only printable ASCII characters are allowed")))
}
