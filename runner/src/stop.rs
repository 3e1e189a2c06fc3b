//! Whether the pod was told to go.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Cheap to clone; every clone hears of it.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Set by SIGTERM and SIGINT from now on.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (set, stop) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            set.send_replace(true);
            // Whoever asks later finds it set.
            set.closed().await;
        });
        Ok(Self(stop))
    }

    /// Whether it was.
    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is.
    pub(crate) async fn set(&self) {
        let mut stop = self.0.clone();
        if stop.wait_for(|set| *set).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(test)]
    pub(crate) fn fixed(set: bool) -> Self {
        Self(watch::channel(set).1)
    }
}
