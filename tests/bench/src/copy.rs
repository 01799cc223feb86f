//! The raw limit of the machine: one process reads a socket into a file and syncs it at the end.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::process::cpu_seconds;
use crate::report::Report;

const BUFFER_BYTES: usize = 256 * 1024;

/// Receives one connection's bytes into a file, syncs it, and prints the port before and the CPU seconds
/// after.
///
/// # Errors
/// When the system refuses.
pub fn receive(file: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    let mut file = File::create(file)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        file.write_all(&buffer[..length])?;
    }
    file.sync_data()?;
    stream.write_all(b"done")?;
    println!("{}", cpu_seconds("self")?);
    Ok(())
}

/// Measures the copy.
///
/// # Errors
/// When the system refuses.
pub fn measure(report: &mut Report, dir: &Path, megabytes: u64) -> Result<()> {
    let file = dir.join("copy");
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--receive-into")
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = std::io::BufReader::new(child.stdout.take().context("a pipe")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line)?;
    let mut stream = TcpStream::connect(("127.0.0.1", line.trim().parse::<u16>()?))?;
    let block = vec![0x5a; 1_000_000];
    let began = Instant::now();
    for _ in 0..megabytes {
        stream.write_all(&block)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(answer == "done", "the receiver broke off");
    line.clear();
    std::io::BufRead::read_line(&mut said, &mut line)?;
    let cpu: f64 = line.trim().parse()?;
    child.wait()?;
    std::fs::remove_file(&file)?;
    let gigabytes = megabytes as f64 / 1000.0;
    report.add("write", "socket to file, synced once", format!("{:.0} MB/s", megabytes as f64 / seconds), "");
    report.add("CPU for it", "socket to file, synced once", format!("{:.2} s/GB", cpu / gigabytes), "");
    Ok(())
}
