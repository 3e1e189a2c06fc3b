//! Reading payload is a user action too: `view` opens a one-time key for ten minutes, and what is read with it is journaled.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ntro_crds::user_action::Verb;
use sha2::{Digest as _, Sha256};

use crate::cluster::{Cluster, Person};
use crate::commands::shared::user_action::{self, NewUserAction};
use crate::error::Result;
use crate::operator_api::{OperatorContact, ReadSession};

pub(crate) async fn open(
    cluster: &Cluster,
    person: &Person,
    workflow: &str,
    run: &str,
    run_id: &str,
) -> Result<ReadSession> {
    let contact = OperatorContact::read(cluster).await?;
    let key = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let mut view = NewUserAction::on_run(Verb::View, workflow, run, run_id);
    view.key_hash = Some(format!("sha256:{}", hex(&Sha256::digest(key.as_bytes()))));
    user_action::submit(cluster, person, view).await?;
    Ok(ReadSession::new(cluster.clone(), contact, key))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
