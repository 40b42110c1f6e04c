//! The two ports of this process.
//!
//! Invariant: both are open before anybody is told where, and none is answered on before the engine runs.

use super::Fault;
use crate::{cli::Exit, config::Server};
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
};

/// Connections that may wait to be taken. The 128 of the standard library are too few for the clients of a stopped
/// instance, who all come at once; the system takes as many as `net.core.somaxconn` (4096) allows.
const WAITING_MAX: i32 = 4_096;

/// The open ports. Nobody is answered yet; who connects waits in the queue of the system.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    pub admin: TcpListener,
}

impl Listeners {
    /// Opens both or none. An address that cannot be had is configuration: the same start would fail again.
    pub fn open(server: &Server) -> Result<Self, Fault> {
        let public = listener("server.listen", &server.listen)?;
        let admin = listener("server.admin_listen", &server.admin_listen)?;
        Ok(Listeners { public, admin })
    }

    /// Tells where, one line each: what scripts wait for, and how they learn a port that was 0.
    pub fn announce(&self, mut to: impl Write) -> io::Result<()> {
        writeln!(to, "listening on http://{}", self.public.local_addr()?)?;
        writeln!(to, "admin on http://{}", self.admin.local_addr()?)?;
        to.flush()
    }
}

fn listener(setting: &str, address: &str) -> Result<TcpListener, Fault> {
    let fault = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "it is in use by another process".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine does not have it".to_owned(),
            io::ErrorKind::PermissionDenied => "this user may not have it".to_owned(),
            _ => error.to_string(),
        };
        Fault::new(Exit::Configuration, format!("{setting} {address} cannot be opened: {reason}"))
    };
    let parsed: SocketAddr = address
        .parse()
        .map_err(|_| Fault::new(Exit::Configuration, format!("{setting} {address} must be IP:PORT")))?;
    bind(parsed).map_err(fault)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the standard library does: an address whose old connections linger can be had at once.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING_MAX)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(listen: &str, admin_listen: &str) -> Server {
        Server { listen: listen.into(), admin_listen: admin_listen.into(), ..Server::default() }
    }

    #[test]
    fn ports_that_were_0_are_told() {
        let listeners = Listeners::open(&server("127.0.0.1:0", "127.0.0.1:0")).unwrap();
        let mut told = Vec::new();
        listeners.announce(&mut told).unwrap();
        let (public, admin) = (listeners.public.local_addr().unwrap(), listeners.admin.local_addr().unwrap());
        assert_eq!(
            String::from_utf8(told).unwrap(),
            format!("listening on http://{public}\nadmin on http://{admin}\n")
        );
        assert_ne!(public.port(), 0);
    }

    #[test]
    fn a_port_in_use_is_configuration() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let fault = Listeners::open(&server("127.0.0.1:0", &address)).unwrap_err();
        assert_eq!(fault.exit, Exit::Configuration);
        assert_eq!(
            fault.why,
            format!("server.admin_listen {address} cannot be opened: it is in use by another process")
        );
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let fault = Listeners::open(&server("192.0.2.1:0", "127.0.0.1:0")).unwrap_err();
        assert_eq!(fault.why, "server.listen 192.0.2.1:0 cannot be opened: this machine does not have it");
    }
}
