//! The child that compiles, from both ends: component in, code with its length and digest out, an error as one line of JSON.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::linux::process::{Bounds, Ending, OWN_PROGRAM, bind_self, end_with_parent, ending};
use crate::plugin::host::cache::Artifact;
use crate::plugin::host::compile::ARTIFACT_BYTES_MAX;
use crate::plugin::host::{Host, Purpose};
use crate::plugin::limits::Limits;
use crate::plugin::{Class, Digest, Kind, Refusal};

/// The hidden command of this program that compiles.
pub const COMMAND: &str = "plugin-compile";

/// One function has been seen to take 8 s and 6 GiB; honest components of 20 MB stay far below both.
const BOUNDS: Bounds =
    Bounds { cpu_seconds: 60, address_bytes: 4 * 1024 * 1024 * 1024, descriptors: 64 };
/// For everything, a busy machine included.
const DEADLINE: Duration = Duration::from_secs(90);
/// Compiler threads; each may reserve tens of MiB of the address space.
const THREADS: &str = "4";
/// Of what the child says on its standard error.
const WORDS_MAX: u64 = 64 * 1024;
/// Length and digest after the code.
const TRAILER_BYTES: usize = 8 + 32;

/// What ends the child with an error, as the line that its parent reads.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// Compiles from one pipe to another in a process that bounds itself first.
///
/// # Errors
/// What the compiler or the operating system refuses, in JSON.
pub fn compile_piped(input: impl Read, mut output: impl Write) -> Result<(), Refused> {
    let fail = |it: &dyn std::fmt::Display| Refused(line(&Refusal::new("compile", it.to_string())));
    bind_self(&BOUNDS).and_then(|()| end_with_parent()).map_err(|it| fail(&it))?;
    let limit = Limits::of(Kind::Policy, Class::Large).component_bytes as u64;
    let mut wasm = Vec::new();
    input.take(limit + 1).read_to_end(&mut wasm).map_err(|it| fail(&it))?;
    if wasm.len() as u64 > limit {
        return Err(fail(&"the component is larger than any may be"));
    }
    let host = Host::start(Purpose::Serve).map_err(|it| fail(&it))?;
    let artifact = host.compile(&wasm).map_err(|it| Refused(line(&it)))?;
    let code = artifact.bytes();
    let trailer = trailer(code);
    let written = output.write_all(code).and_then(|()| output.write_all(&trailer));
    written.and_then(|()| output.flush()).map_err(|it| fail(&it))
}

fn line(refusal: &Refusal) -> String {
    serde_json::json!({ "message": refusal.message }).to_string()
}

fn trailer(code: &[u8]) -> Vec<u8> {
    [&(code.len() as u64).to_le_bytes()[..], &Digest::of(code).0].concat()
}

/// The parent's end. Blocks, at most for [`DEADLINE`].
pub(super) fn compile(wasm: &[u8]) -> Result<Artifact, Refusal> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(COMMAND);
    run(command, wasm, DEADLINE)
}

/// What came out of the child.
struct Came {
    code: io::Result<Vec<u8>>,
    words: String,
}

fn run(mut command: Command, wasm: &[u8], deadline: Duration) -> Result<Artifact, Refusal> {
    // The environment holds keys of services; the compiler needs none of it.
    command.env_clear().env("RAYON_NUM_THREADS", THREADS);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.map_err(|it| refuse(&format!("the compiler does not start: {it}")))?;
    let came = talk(&mut child, wasm, deadline);
    if came.is_err() {
        // It may have ended by itself meanwhile; either way it is reaped below.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|it| refuse(&format!("the compiler is lost: {it}")))?;
    judge(came?, ending(status))
}

/// Feeds the child and collects what it says; threads, because any of the pipes may fill up first.
fn talk(child: &mut Child, wasm: &[u8], deadline: Duration) -> Result<Came, Refusal> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(refuse("the compiler has no pipes"));
    };
    let wasm = wasm.to_vec();
    let (tell, told) = sync_channel(1);
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        thread.map_err(|it| refuse(&format!("no thread for the compiler's pipes: {it}")))
    };
    // Ends when the child does; a child that does not read has its own error to tell.
    spawn("compile-in", Box::new(move || drop(stdin.write_all(&wasm))))?;
    spawn("compile-out", Box::new(move || drop(tell.send(collect(stdout, stderr)))))?;
    told.recv_timeout(deadline).map_err(|error| match error {
        RecvTimeoutError::Timeout => {
            refuse(&format!("compiling took more than {} s", deadline.as_secs()))
                .advice("Split large functions, or build with less inlining.")
        }
        RecvTimeoutError::Disconnected => refuse("the compiler's pipes broke"),
    })
}

/// Code first: the child says what is wrong only when it has none, and that fits a pipe.
fn collect(stdout: ChildStdout, stderr: ChildStderr) -> Came {
    let mut code = Vec::new();
    let limit = (ARTIFACT_BYTES_MAX + TRAILER_BYTES) as u64;
    let read = stdout.take(limit + 1).read_to_end(&mut code);
    let mut words = Vec::new();
    // Whatever was read of it is better than nothing.
    let _ = stderr.take(WORDS_MAX).read_to_end(&mut words);
    Came { code: read.map(|_| code), words: String::from_utf8_lossy(&words).into_owned() }
}

fn judge(came: Came, ended: Ending) -> Result<Artifact, Refusal> {
    let code =
        came.code.map_err(|it| refuse(&format!("the compiler's code cannot be read: {it}")))?;
    if code.len() > ARTIFACT_BYTES_MAX + TRAILER_BYTES {
        return Err(refuse(&format!("it compiles to more than {ARTIFACT_BYTES_MAX} bytes")));
    }
    match ended {
        Ending::Code(0) => whole(code),
        ended => Err(refuse(&reason(&came.words, ended))),
    }
}

/// Code whose length and digest are those that the child has sent after it.
fn whole(mut code: Vec<u8>) -> Result<Artifact, Refusal> {
    let sent = code.split_off(code.len().saturating_sub(TRAILER_BYTES));
    if sent != trailer(&code) {
        return Err(refuse("the compiler's code is not whole"));
    }
    Ok(Artifact::of_our_compiler(code))
}

fn reason(words: &str, ended: Ending) -> String {
    let said = words.lines().find_map(|line| {
        let said: serde_json::Value = serde_json::from_str(line).ok()?;
        said.get("message")?.as_str().map(str::to_owned)
    });
    if let Some(said) = said {
        return said;
    }
    let mib = BOUNDS.address_bytes / (1024 * 1024);
    match ended {
        Ending::CpuTime => format!("compiling took more than {} s of CPU time", BOUNDS.cpu_seconds),
        Ending::Aborted if words.contains("memory allocation") => {
            format!("compiling took more than {mib} MiB of memory")
        }
        Ending::Killed => "the compiler was killed (the machine may be out of memory)".to_owned(),
        Ending::Code(code) => format!("the compiler ended with {code}: {}", last_line(words)),
        Ending::Aborted => format!("the compiler aborted: {}", last_line(words)),
        Ending::Signal(signal) => format!("the compiler ended by signal {signal}"),
    }
}

fn last_line(words: &str) -> &str {
    words.lines().rfind(|it| !it.trim().is_empty()).unwrap_or("it said nothing")
}

fn refuse(what: &str) -> Refusal {
    Refusal::new("compile", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn reason_of(script: &str) -> String {
        run(shell(script), b"\0asm", Duration::from_secs(20)).unwrap_err().message
    }

    #[test]
    fn code_is_taken_with_its_length_and_digest_only() {
        let mut piece = b"code".to_vec();
        piece.extend(trailer(b"code"));
        assert_eq!(whole(piece.clone()).unwrap().bytes(), b"code");
        for cut in 0..piece.len() {
            assert!(whole(piece[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        piece[0] ^= 1;
        assert!(whole(piece).is_err());
        assert_eq!(reason_of("cat >/dev/null; echo nonsense"), "the compiler's code is not whole");
        assert_eq!(reason_of("exit 0"), "the compiler's code is not whole");
    }

    #[test]
    fn every_end_of_the_child_has_its_words() {
        for (script, expected) in [
            (r#"echo '{"message":"no such feature"}' >&2; exit 1"#, "no such feature"),
            ("echo one >&2; echo two >&2; exit 7", "the compiler ended with 7: two"),
            ("kill -XCPU $$", "compiling took more than 60 s of CPU time"),
            ("kill -KILL $$", "the compiler was killed (the machine may be out of memory)"),
            ("kill -SEGV $$", "the compiler ended by signal 11"),
            (
                "echo 'memory allocation of 7 bytes failed' >&2; kill -ABRT $$",
                "compiling took more than 4096 MiB of memory",
            ),
        ] {
            assert_eq!(reason_of(script), expected, "{script}");
        }
    }

    #[test]
    fn a_child_that_never_ends_is_killed() {
        let late = run(shell("exec cat /dev/zero >/dev/null"), b"", Duration::from_millis(200));
        assert!(late.unwrap_err().message.contains("more than 0 s"));
    }

    #[test]
    fn a_child_that_says_too_much_is_cut_off() {
        let big = vec![b' '; 1 << 20];
        let what = run(shell("cat"), &big, Duration::from_secs(20)).unwrap_err().message;
        assert_eq!(what, "the compiler's code is not whole");
    }

    #[test]
    fn the_environment_stays_here() {
        let said = reason_of(r#"echo "{\"message\":\"$(env | sort | tr '\n' ' ')\"}" >&2; exit 1"#);
        assert!(!said.contains("HOME=") && !said.contains("CARGO"), "{said}");
    }
}
