//! The confined process that runs the bundle: how it is started, and what it may know.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};

use crate::config::Config;
use crate::log_lines::Stream;

/// All of an environment, UTF-8 or not.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// What is ours, the cluster's, or would lead code to another engine.
const DROPPED: [&[u8]; 3] = [b"NTRO_", b"KUBERNETES_", b"TEMPORAL_"];
/// What could make code irreproducible, fixed.
const FIXED: [(&str, &str); 5] = [
    ("PYTHONHASHSEED", "0"),
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("TZ", "UTC"),
    ("LC_ALL", "C.UTF-8"),
];

/// A child that was started.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// Our end of the socket it asks through.
    pub(crate) channel: UnixStream,
    /// The reading ends of what it writes.
    pub(crate) pipes: [(Stream, OwnedFd); 3],
}

impl Child {
    /// Starts it, as the leader of its own process group. Must be called by the thread that stays until the end: the
    /// child dies with the thread that started it.
    pub(crate) fn start(config: &Config, env: &Environment, bundle: &Path, scratch: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let ((out, out_end), (err, err_end), (log, log_end)) = (io::pipe()?, io::pipe()?, io::pipe()?);
        inherit(&theirs)?;
        inherit(&log_end)?;
        let mut command = Command::new(&config.python);
        command.args(["-P", "-m", "ntro_runtime.engine.child"]).args([bundle, scratch]);
        command.args([theirs.as_raw_fd(), log_end.as_raw_fd()].map(|fd| fd.to_string()));
        if config.allow_no_landlock {
            command.arg("--allow-no-landlock");
        }
        command.stdin(Stdio::null()).stdout(out_end).stderr(err_end);
        command.env_clear().envs(environment(env, scratch)).current_dir(scratch).process_group(0);
        // Not waited for through this handle: whatever ends here is reaped in one place.
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let pipes = [(Stream::Stdout, out.into()), (Stream::Stderr, err.into()), (Stream::Logging, log.into())];
        Ok(Self { pid, channel: ours, pipes })
    }
}

/// Sends a signal. A process that is gone needs none.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

fn inherit(fd: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(fd, FdFlags::empty())?)
}

/// What the child may know: nothing of ours.
pub(crate) fn environment(env: &Environment, home: &Path) -> Environment {
    let ours = |name: &OsString| DROPPED.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix));
    let kept = env.iter().filter(|(name, _)| !ours(name)).map(|(name, value)| (name.clone(), value.clone()));
    let fixed = FIXED.into_iter().map(|(name, value)| (name.into(), value.into()));
    kept.chain(fixed).chain(["HOME", "TMPDIR"].map(|name| (name.into(), home.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_knows_nothing_of_ours() {
        let ours = [
            ("NTRO_TOKEN_FILE", "t"),
            ("KUBERNETES_SERVICE_HOST", "h"),
            ("TEMPORAL_HOST", "x"),
            ("PATH", "/bin"),
            ("TZ", "X"),
        ];
        let env = environment(&ours.into_iter().map(|(n, v)| (n.into(), v.into())).collect(), Path::new("/scratch"));
        let text: BTreeMap<_, _> = env.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        assert!(!text.keys().any(|name| ["NTRO_", "KUBERNETES_", "TEMPORAL_"].iter().any(|it| name.starts_with(it))));
        assert_eq!((text["PATH"], text["TZ"], text["PYTHONHASHSEED"]), ("/bin", "UTC", "0"));
        assert_eq!((text["HOME"], text["TMPDIR"]), ("/scratch", "/scratch"));
    }
}
