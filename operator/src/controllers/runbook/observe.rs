//! What there is of a Runbook before it is decided about: itself, its tenant, and the versions its namespace needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use ntro_crds::{Runbook, Workflow, labels};

use super::Runbooks;
use super::error::RunbookError;
use super::validate::{self, Pinned};
use crate::k8s::NamespacedName;

/// All that a reconcile decides from.
pub(super) struct Observed {
    pub key: NamespacedName,
    pub runbook: Arc<Runbook>,
    /// Why the namespace is not served, if it is not.
    pub tenant_problem: Option<TenantProblem>,
    /// What the repository would be asked.
    pub question: Question,
    /// The versions that unfinished runs execute.
    pub executed: BTreeSet<Pinned>,
}

/// What makes an earlier answer of the repository void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub uid: Option<String>,
    pub generation: Option<i64>,
    /// The annotation that asks for a reconcile now.
    pub requested_at: Option<String>,
    /// The versions that Workflows pin.
    pub pinned: BTreeSet<Pinned>,
}

/// Why a namespace is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenantProblem {
    NotATenant,
    NotPrepared,
}

impl TenantProblem {
    pub(super) fn error(self, namespace: &str) -> RunbookError {
        match self {
            Self::NotATenant => RunbookError::NotATenant(namespace.to_owned()),
            Self::NotPrepared => RunbookError::TenantNotPrepared(namespace.to_owned()),
        }
    }
}

impl Runbooks {
    /// `None` for one that is gone.
    pub(super) fn observe(&self, key: &NamespacedName) -> Option<Observed> {
        let runbook = self.cache.runbook(&key.namespace, &key.name);
        let runbook = runbook.filter(|runbook| runbook.metadata.deletion_timestamp.is_none())?;
        let here = |workflow: &Workflow| workflow.metadata.namespace.as_deref() == Some(&key.namespace);
        let workflows = self.cache.workflows.state_filter(here);
        let runs = self.cache.runs.unfinished_in(&key.namespace);
        Some(Observed {
            key: key.clone(),
            tenant_problem: self.tenant_problem(&key.namespace),
            question: Question {
                uid: runbook.uid(),
                generation: runbook.metadata.generation,
                requested_at: runbook.annotations().get(labels::RECONCILE_REQUESTED_AT).cloned(),
                pinned: validate::pinned(&key.name, workflows.iter().map(Arc::as_ref)),
            },
            executed: validate::executed(&key.name, runs.iter().map(Arc::as_ref)),
            runbook,
        })
    }

    fn tenant_problem(&self, namespace: &str) -> Option<TenantProblem> {
        let tenants = &self.context.tenants;
        if tenants.get(namespace).is_none() {
            return Some(TenantProblem::NotATenant);
        }
        tenants.is_unprepared(namespace).then_some(TenantProblem::NotPrepared)
    }
}
