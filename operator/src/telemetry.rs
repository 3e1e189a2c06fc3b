//! Logs of the operator itself. Payload never gets here: what is logged are ids, names, states and error messages.

use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, Settings};

/// Sends logs to standard output in the wanted form. To be called once.
pub(crate) fn init(settings: &Settings) {
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    match settings.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
        LogFormat::Plain => builder.with_ansi(false).init(),
    }
}
