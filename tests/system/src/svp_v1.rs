// SPDX-License-Identifier: CDDL-1.0
//! A directory of version 1 of SVP: a portolan behind something that says version 1 in place of every
//! client. What it then answers is what one of that version does, which looks at no version and says 1
//! in each reply, also to a PING of version 2.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use svp::HEADER;

/// Serves for as long as the test runs.
///
/// # Errors
/// Nobody can listen there.
pub fn serve(listen: SocketAddr, portolan: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                // However a connection ends, the client makes another.
                let _ = relay(&client, portolan);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    Ok(())
}

fn relay(mut client: &TcpStream, portolan: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(portolan)?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    loop {
        let mut header = [0; HEADER];
        client.read_exact(&mut header)?;
        let size = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let mut message = header.to_vec();
        message.resize(HEADER + size as usize, 0);
        client.read_exact(&mut message[HEADER..])?;
        message[..2].copy_from_slice(&1u16.to_be_bytes());
        // Over the whole message with zero in its own place.
        message[12..HEADER].fill(0);
        let crc = crc32fast::hash(&message);
        message[12..HEADER].copy_from_slice(&crc.to_be_bytes());
        server.write_all(&message)?;
    }
}
