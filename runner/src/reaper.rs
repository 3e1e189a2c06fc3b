//! Whatever ends in the pod is reaped here, and nothing outlives the child.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use tokio::time::timeout;

use crate::child::signal;

/// How often what is left is killed before it is given up; process 1 takes it along when it ends.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(20);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exit(i32),
    Signal(i32),
}

impl Ended {
    fn of(status: WaitStatus) -> Option<Self> {
        status.exit_status().map(Self::Exit).or_else(|| status.terminating_signal().map(Self::Signal))
    }

    /// The word for it in reports.
    pub(crate) fn name(self) -> String {
        let Self::Signal(number) = self else {
            let Self::Exit(status) = self else { return String::new() };
            return format!("exit{status}");
        };
        let known = [
            (Signal::HUP, "SIGHUP"),
            (Signal::INT, "SIGINT"),
            (Signal::QUIT, "SIGQUIT"),
            (Signal::ILL, "SIGILL"),
            (Signal::TRAP, "SIGTRAP"),
            (Signal::ABORT, "SIGABRT"),
            (Signal::BUS, "SIGBUS"),
            (Signal::FPE, "SIGFPE"),
            (Signal::KILL, "SIGKILL"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::PIPE, "SIGPIPE"),
            (Signal::ALARM, "SIGALRM"),
            (Signal::TERM, "SIGTERM"),
            (Signal::XCPU, "SIGXCPU"),
            (Signal::XFSZ, "SIGXFSZ"),
            (Signal::SYS, "SIGSYS"),
        ];
        let name = known.into_iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| name.to_owned());
        name.unwrap_or_else(|| format!("signal{number}"))
    }
}

pub(crate) struct Reaper(tokio::signal::unix::Signal);

enum Round {
    /// This process ended.
    Ended(Ended),
    /// Others are alive.
    Alive,
    /// There is nobody.
    Nobody,
}

impl Reaper {
    /// To be made before anything is started.
    pub(crate) fn new() -> io::Result<Self> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).map(Self)
    }

    /// Reaps everything that ends until `pid` does.
    pub(crate) async fn ended(&mut self, pid: Pid) -> Ended {
        loop {
            match reap(Some(pid)) {
                Round::Ended(ended) => return ended,
                // It cannot be gone unseen; if it is, it was as good as killed.
                Round::Nobody => return Ended::Signal(Signal::KILL.as_raw()),
                Round::Alive => drop(self.0.recv().await),
            }
        }
    }

    /// Kills and reaps what the child has left behind: its process group, and whoever fled it and came to us.
    pub(crate) async fn rest(&mut self, group: Pid) {
        for _ in 0..ROUNDS {
            let _ = kill_process_group(group, Signal::KILL);
            for pid in children() {
                signal(pid, Signal::KILL);
            }
            if matches!(reap(None), Round::Nobody) {
                return;
            }
            let _ = timeout(ROUND, self.0.recv()).await;
        }
    }
}

fn reap(wanted: Option<Pid>) -> Round {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => match Ended::of(status) {
                Some(ended) if wanted == Some(pid) => return Round::Ended(ended),
                _ => {}
            },
            Ok(None) => return Round::Alive,
            Err(Errno::INTR) => {}
            Err(_) => return Round::Nobody,
        }
    }
}

/// The processes that we are the parent of. None are found on a kernel that does not list them.
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<i32> =
        lists.flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect();
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_names() {
        assert_eq!(Ended::Exit(3).name(), "exit3");
        assert_eq!(Ended::Signal(11).name(), "SIGSEGV");
        assert_eq!(Ended::Signal(9).name(), "SIGKILL");
        assert_eq!(Ended::Signal(64).name(), "signal64");
    }
}
