//! Listening sockets of the control side: TCP, and unix sockets that only their owner can open.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::linux::sockets::give_up_unacknowledged_after_ms;
use crate::wire::listener;

/// How long a process behind a unix socket may take to be noticed.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// A client that takes nothing for so long is given up by the kernel (TCP_USER_TIMEOUT).
const WRITE_STALL_MS: u32 = 30_000;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A listening unix socket; its file goes when it goes.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // While we still listen nobody else takes the path over, so the file is ours.
        let _ = fs::remove_file(&self.path);
    }
}

/// An accepted connection.
#[derive(Debug)]
pub enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    /// Listens on a TCP address; port 0 lets the kernel choose. The port may be shared with a process that this one takes
    /// over from.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        let listener = listener::bind(address, true)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// Listens on a unix socket of mode 0600. A socket file that nobody listens on is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, `AlreadyExists` when the path is something else than a socket.
    pub async fn unix(path: &Path) -> io::Result<Self> {
        refuse_taken(path).await?;
        let listener = bind_private(path)?;
        Ok(Self::Unix(UnixSocket { listener, path: path.to_owned() }))
    }

    /// The bound TCP address, with the port that the kernel chose.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Whether only processes of this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|it| it.ip().is_loopback()),
            Self::Unix(_) => true,
        }
    }

    /// For people: `127.0.0.1:9901` or `unix:/run/headgate.sock`.
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp".to_owned(), |it| it.to_string())
            }
            Self::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// As `accept(2)`; the caller rests and tries again.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Neither is needed for a right answer, and a client that is gone already may make them fail.
                let _ = stream.set_nodelay(true);
                let _ = give_up_unacknowledged_after_ms(&stream, WRITE_STALL_MS);
                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Unix(socket) => Ok(Accepted::Unix(socket.listener.accept().await?.0)),
        }
    }
}

async fn refuse_taken(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is not a socket"));
    }
    match timeout(PROBE_PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
    }
}

/// Binds in a directory that only we can enter and renames the socket into place, so that it is never open to others,
/// not even between `bind` and `chmod`; renaming replaces a stale file atomically.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = parent.join(format!(".hg{}", std::process::id()));
    let _ = fs::remove_dir_all(&private);
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let inside = private.join("s");
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    let _ = fs::remove_dir_all(&private);
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place for a socket; its folder goes with it.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    impl std::ops::Deref for Place {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    fn place(name: &str) -> Place {
        let dir =
            std::env::temp_dir().join(format!("headgate-socket-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Place(dir.join("admin.sock"))
    }

    #[tokio::test]
    async fn a_unix_socket_is_private_and_its_file_goes_with_it() {
        let path = place("private");
        let socket = Socket::unix(&path).await.unwrap();
        assert_eq!(fs::metadata(&*path).unwrap().permissions().mode() & 0o777, 0o600);
        let client = UnixStream::connect(&*path).await.unwrap();
        assert!(matches!(socket.accept().await.unwrap(), Accepted::Unix(_)));
        drop((socket, client));
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_stale_file_is_replaced() {
        let path = place("stale");
        drop(std::os::unix::net::UnixListener::bind(&*path).unwrap());
        assert!(path.exists());
        let socket = Socket::unix(&path).await.unwrap();
        assert!(UnixStream::connect(&*path).await.is_ok());
        assert_eq!(socket.name(), format!("unix:{}", path.display()));
    }

    #[tokio::test]
    async fn a_living_socket_is_left_alone() {
        let path = place("living");
        let first = Socket::unix(&path).await.unwrap();
        let second = Socket::unix(&path).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&*path).await.is_ok());
        drop(first);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let path = place("file");
        fs::write(&*path, "precious").unwrap();
        let refused = Socket::unix(&path).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&*path).unwrap(), "precious");
    }
}
