//! What is known of the API server's clock, from the `Date` of its answers.
//!
//! Whether a person acted in time is told by `creationTimestamp`, which is the API server's time. The operator's own clock
//! may be set to anything: that somebody did not act in time is only known once the API server's clock has passed it.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::DATE;
use http::{HeaderMap, Request, Response};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use tower::{Layer, Service};

/// How exact a `Date` is.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// At the instant `by`, the API server's clock showed `shown` or more.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    shown: Timestamp,
    by: Instant,
}

impl Bound {
    /// What the clock shows at least at an instant, by what has passed since on a clock that cannot be set.
    fn at(&self, instant: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(instant.duration_since(self.by)).unwrap_or(SignedDuration::MAX);
        self.shown.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// What is known after an answer to a request sent and received then: the clock showed `date`, without its fraction, in
    /// between. The better bound stays, unless the API server's clock was set back and it is wrong.
    fn after(before: Option<Self>, date: Timestamp, sent: Instant, received: Instant) -> Self {
        let heard = Self { shown: date, by: received };
        let right = |bound: &Self| bound.at(sent).duration_since(date) < SECOND;
        let better = |bound: &Self| bound.at(received) > date;
        before.filter(|bound| right(bound) && better(bound)).unwrap_or(heard)
    }
}

/// The API server's clock as its answers show it: never ahead of it, and behind by less than a second. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerTime(Arc<Mutex<Option<Bound>>>);

impl ServerTime {
    /// What the clock shows now at least; `None` before the first answer.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|bound| bound.at(Instant::now()))
    }

    /// Notes the `Date` of an answer.
    fn note(&self, headers: &HeaderMap, sent: Instant, received: Instant) {
        let Some(date) = date(headers) else { return };
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *bound = Some(Bound::after(*bound, date, sent, received));
    }

    /// As if an answer of this time had come just now, for tests.
    #[cfg(test)]
    pub(crate) fn hear(&self, shown: Timestamp) {
        *self.0.lock().unwrap() = Some(Bound { shown, by: Instant::now() });
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(headers.get(DATE)?.as_bytes()).ok()
}

impl<S> Layer<S> for ServerTime {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting { inner, server_time: self.clone() }
    }
}

/// A service whose answers tell the API server's time.
#[derive(Debug, Clone)]
pub(crate) struct Noting<S> {
    inner: S,
    server_time: ServerTime,
}

impl<S, A, B> Service<Request<A>> for Noting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (server_time, sent) = (self.server_time.clone(), Instant::now());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await?;
            server_time.note(answer.headers(), sent, Instant::now());
            Ok(answer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use tower::ServiceExt as _;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Millisecond `n` of the API server's clock, as a `Date` has it.
    fn shown(n: i64) -> Timestamp {
        Timestamp::from_second(n.div_euclid(1000)).unwrap()
    }

    /// What is known at `start + now` after these answers, in milliseconds: (the server's clock, sent, received).
    fn known(start: Instant, answers: &[(i64, u32, u32)], now: u32) -> i64 {
        let bound = answers.iter().fold(None, |before, (clock, sent, received)| {
            Some(Bound::after(before, shown(*clock), start + *sent * MS, start + *received * MS))
        });
        bound.unwrap().at(start + now * MS).as_millisecond()
    }

    #[test]
    fn every_answer_makes_it_more_exact_and_never_ahead() {
        let start = Instant::now();
        // The server's clock is 100,000 ms ahead of ours.
        assert_eq!(known(start, &[(100_900, 880, 910)], 910), 100_000);
        let both = [(100_900, 880, 910), (102_010, 1_990, 2_015)];
        assert_eq!(known(start, &both, 2_015), 102_000);
        assert_eq!(known(start, &both, 5_015), 105_000, "time passes");
        assert_eq!(known(start, &[both[1], (104_800, 4_790, 4_810)], 4_810), 104_795, "the better bound stays");
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        let start = Instant::now();
        assert_eq!(known(start, &[(100_000, 0, 10), (40_000, 1_000, 1_010)], 1_010), 40_000);
        assert_eq!(known(start, &[(100_000, 0, 10), (900_000, 1_000, 1_010)], 1_010), 900_000);
        assert_eq!(known(start, &[(100_000, 0, 10), (100_900, 900, 5_000)], 5_000), 104_990, "it took long");
    }

    #[tokio::test]
    async fn it_is_read_from_the_answers_of_a_client() {
        let server_time = ServerTime::default();
        assert_eq!(server_time.now(), None);
        let answering = |date: &'static str| {
            let answer = move |_: Request<()>| async move { Response::builder().header(DATE, date).body(()) };
            server_time.layer(tower::service_fn(answer))
        };
        answering("soon").oneshot(Request::new(())).await.unwrap();
        assert_eq!(server_time.now(), None);
        answering("Sat, 31 Oct 2026 08:00:00 GMT").oneshot(Request::new(())).await.unwrap();
        let since = server_time.now().unwrap().duration_since("2026-10-31T08:00:00Z".parse().unwrap());
        assert!(!since.is_negative() && since < SignedDuration::from_mins(5), "{since}");
        let broken =
            server_time.layer(tower::service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
        broken.oneshot(Request::new(())).await.unwrap();
        assert!(server_time.now().is_some());
    }
}
