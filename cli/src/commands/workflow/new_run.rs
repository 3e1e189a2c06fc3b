//! The object that asks for a run.

use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use ntro_crds::workflow_run::{Request, RunContext, Trigger, WorkflowRef};
use ntro_crds::{Workflow, WorkflowRun, WorkflowRunSpec, labels};

pub(super) fn new_run(
    workflow: &Workflow,
    namespace: &str,
    name: &str,
    period: String,
    trigger: Trigger,
) -> WorkflowRun {
    let labels = [
        (labels::WORKFLOW.to_owned(), workflow.name_any()),
        (labels::WORKFLOW_UID.to_owned(), workflow.uid().unwrap_or_default()),
    ];
    WorkflowRun {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: WorkflowRunSpec {
            request: Request {
                workflow_ref: WorkflowRef { name: workflow.name_any() },
                context: Some(RunContext { period: Some(period) }),
                trigger,
            },
        },
        status: None,
    }
}
