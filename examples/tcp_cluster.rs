//! Three processes, one cluster, plain TCP between them.
//!
//! In three terminals, with `NAME` and `PORT` being `a` 7001, `b` 7002 and `c` 7003:
//!
//! ```sh
//! cargo run --release --example tcp_cluster -- --name NAME --listen 127.0.0.1:PORT \
//!     --peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 --dir /tmp/quorate/NAME
//! ```
//!
//! Then type `help`. Kill any one with `kill -9`: the others go on. Start it again: it catches up.
//!
//! [`Tcp`] is the part to copy. Each pair of members has two connections in each direction, one
//! for each lane, and a connection carries frames one way:
//!
//! ```text
//!   send(b, Urgent, ..) ─ queue ─ thread to-b-Urgent ═ TCP ═ thread from ─ inbox.deliver(a, ..)
//!   send(b, Bulk, ..) ─── queue ─ thread to-b-Bulk ═══ TCP ═ thread from ─ inbox.deliver(a, ..)
//!
//!   hello   magic, 8 bytes │ sender's id, u64                once, from who connects
//!   frame   length, u32    │ envelope                        from then on; little-endian
//! ```
//!
//! Nothing here is retried or acknowledged: what is lost, the members send again. What it leaves
//! to you: it believes the sender's id and sends in the clear, so between machines put TLS with
//! client certificates under it; and a machine that vanishes without a word is noticed by the
//! members, but its incoming connections stay open until TCP keepalive (which the standard
//! library does not set) ends them.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program, not the library: it has threads, a terminal, and nothing but std"
)]

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::{Config, Inbox, KeyRange, KeyValue, Lane, Node, NodeId, Peer, Transport};

/// The first bytes of every connection; the digit is the version of this framing.
const MAGIC: [u8; 8] = *b"quorate1";
/// The same as `Config::max_message_bytes`. A length above it is nonsense, and is not allocated.
const MAX_FRAME_BYTES: usize = 1 << 20;
/// Envelopes that may wait for one connection. A full queue drops: the network is too slow, and
/// more of it in memory does not make it faster.
const MAX_QUEUED: usize = 256;
/// Incoming connections at a time: anybody can connect.
const MAX_INCOMING: usize = 64;
/// How long a connection may take to be made, to say hello, or to take a frame.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first wait after a lost connection; each further one is twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Moves envelopes over TCP. Clones are the same transport: the node has one, `main` another.
#[derive(Clone)]
struct Tcp(Arc<Shared>);

struct Shared {
    me: NodeId,
    listener: TcpListener,
    /// Known once the node is open.
    inbox: OnceLock<Inbox>,
    /// Ways to the others. Whoever removes one ends its thread: the queue is closed.
    links: RwLock<HashMap<(NodeId, Lane), Link>>,
    /// Every open connection, so that `close` can wake whoever blocks in it.
    open: Mutex<HashMap<u64, TcpStream>>,
    next_key: AtomicU64,
    closing: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Link {
    address: String,
    queue: SyncSender<Bytes>,
}

impl Tcp {
    /// Takes the port, so that others can connect; they are not answered before [`serve`].
    ///
    /// [`serve`]: Self::serve
    fn bind(address: &str, me: NodeId) -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            me,
            listener: TcpListener::bind(address)?,
            inbox: OnceLock::new(),
            links: RwLock::default(),
            open: Mutex::default(),
            next_key: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            threads: Mutex::default(),
        })))
    }

    /// From now on, what arrives is delivered.
    fn serve(&self, inbox: Inbox) {
        if self.0.inbox.set(inbox.clone()).is_ok() {
            let shared = Arc::clone(&self.0);
            self.0.spawn("accept", move || shared.accept(&inbox));
        }
    }

    /// Closes every connection and joins every thread. After the node is closed, so that its last
    /// words get out.
    fn close(&self) {
        let shared = &self.0;
        shared.closing.store(true, Ordering::SeqCst);
        // Closes the queues: who waits for something to send ends.
        shared.links.write().unwrap_or_else(PoisonError::into_inner).clear();
        // Who is in the middle of a read or a write ends.
        for stream in lock(&shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Who waits for a connection gets one, and ends.
        if let Ok(address) = shared.listener.local_addr() {
            drop(TcpStream::connect_timeout(&address, PATIENCE));
        }
        let threads = std::mem::take(&mut *lock(&shared.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Transport for Tcp {
    fn send(&self, to: NodeId, lane: Lane, envelope: Bytes) {
        let links = self.0.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&(to, lane)) {
            // Full or closed: lost, as it may be on any network.
            let _ = link.queue.try_send(envelope);
        }
    }

    fn members_changed(&self, peers: &[Peer]) {
        let shared = &self.0;
        let mut links = shared.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|(id, _), link| {
            peers.iter().any(|peer| peer.id == *id && peer.address == link.address)
        });
        for peer in peers {
            for lane in [Lane::Urgent, Lane::Bulk] {
                links.entry((peer.id, lane)).or_insert_with(|| shared.link(peer, lane));
            }
        }
    }
}

impl Shared {
    /// Starts the thread that sends to `peer`.
    fn link(self: &Arc<Self>, peer: &Peer, lane: Lane) -> Link {
        let (queue, waiting) = sync_channel(MAX_QUEUED);
        let address = peer.address.clone();
        let sender = Sender {
            shared: Arc::clone(self),
            peer: peer.id,
            lane,
            address: address.clone(),
            waiting,
        };
        self.spawn(&format!("to-{}-{lane:?}", peer.name), move || sender.run());
        Link { address, queue }
    }

    /// Without the thread its queue is closed, and what is sent there is lost.
    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        match thread::Builder::new().name(name.to_owned()).spawn(body) {
            Ok(thread) => threads.push(thread),
            Err(error) => eprintln!("no thread {name}: {error}"),
        }
    }

    fn accept(self: &Arc<Self>, inbox: &Inbox) {
        for stream in self.listener.incoming() {
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // Out of descriptors, mostly: there is nothing to do but to give it time.
                thread::park_timeout(FIRST_PAUSE);
                continue;
            };
            // Ours to the others are among the open ones: a dozen at most.
            if lock(&self.open).len() < MAX_INCOMING {
                let (shared, inbox) = (Arc::clone(self), inbox.clone());
                self.spawn("from", move || {
                    // However a connection ends, who lost it connects again.
                    let _ = shared.receive(stream, &inbox);
                });
            }
        }
    }

    /// Delivers what comes in until the connection ends, or breaks the rules.
    fn receive(&self, stream: TcpStream, inbox: &Inbox) -> io::Result<()> {
        let _open = self.register(&stream)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut input = BufReader::with_capacity(64 << 10, stream);
        let (mut magic, mut from) = ([0; 8], [0; 8]);
        input.read_exact(&mut magic)?;
        input.read_exact(&mut from)?;
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "somebody else's protocol"));
        }
        let from = NodeId::new(u64::from_le_bytes(from));
        input.get_ref().set_read_timeout(None)?;
        loop {
            let mut length = [0; 4];
            input.read_exact(&mut length)?;
            let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if length > MAX_FRAME_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"));
            }
            let mut envelope = vec![0; length];
            input.read_exact(&mut envelope)?;
            // What the node refuses it has counted, and the next may be good again.
            match inbox.deliver(from, envelope) {
                Err(error) if error.is_closed() => return Ok(()),
                _ => {}
            }
        }
    }

    /// Lets `close` find this connection for as long as the result lives.
    fn register(&self, stream: &TcpStream) -> io::Result<Open<'_>> {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let stream = stream.try_clone()?;
        let mut open = lock(&self.open);
        if self.closing.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        open.insert(key, stream);
        Ok(Open { shared: self, key })
    }
}

/// An entry of [`Shared::open`].
struct Open<'a> {
    shared: &'a Shared,
    key: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.shared.open).remove(&self.key);
    }
}

/// The sending end of one lane to one peer: a thread.
struct Sender {
    shared: Arc<Shared>,
    peer: NodeId,
    lane: Lane,
    address: String,
    waiting: Receiver<Bytes>,
}

impl Sender {
    /// Connects, sends, and after each loss waits and connects again, until its queue is closed.
    fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut is_lost = false;
        loop {
            if let Ok(stream) = self.connect() {
                is_lost = false;
                if self.send(stream, &mut pause).is_ok() {
                    return;
                }
            }
            if !is_lost {
                is_lost = true;
                self.report();
            }
            if !self.discard(pause) {
                return;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Once for each loss, and for one of the two lanes: what has to be sent again is entries.
    fn report(&self) {
        if let (Lane::Bulk, Some(inbox)) = (self.lane, self.shared.inbox.get()) {
            inbox.report_unreachable(self.peer);
        }
    }

    /// Asks for the address each time: it may have moved.
    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                // With nobody at a port of this machine, the system may pick that very port for
                // our end and connect us to ourselves.
                Ok(stream) if stream.local_addr()? == address => {}
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends what is queued until the queue is closed (then it is done) or the connection lost.
    fn send(&self, stream: TcpStream, pause: &mut Duration) -> io::Result<()> {
        let _open = self.shared.register(&stream)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut output = BufWriter::with_capacity(64 << 10, stream);
        output.write_all(&MAGIC)?;
        output.write_all(&self.shared.me.get().to_le_bytes())?;
        loop {
            let envelope = match self.waiting.try_recv() {
                Ok(envelope) => envelope,
                Err(TryRecvError::Disconnected) => return output.flush(),
                Err(TryRecvError::Empty) => {
                    output.flush()?;
                    let Ok(envelope) = self.waiting.recv() else { return Ok(()) };
                    check_open(output.get_ref())?;
                    envelope
                }
            };
            let Ok(length) = u32::try_from(envelope.len()) else { continue };
            output.write_all(&length.to_le_bytes())?;
            output.write_all(&envelope)?;
            *pause = FIRST_PAUSE;
        }
    }

    /// Waits, and throws away what is queued meanwhile: nobody wants an old heartbeat. False when
    /// the queue is closed.
    fn discard(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            match self.waiting.recv_timeout(left) {
                Ok(_stale) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

/// An error if the other end has closed. A write would tell too, but only the one after this,
/// and a vote that is lost costs an election.
fn check_open(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        // It never says anything: either it is gone, or it is not one of us.
        Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) => Err(error),
    }
}

/// A thread that panicked leaves nothing half done behind any of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// The rest is the program around it.

const USAGE: &str = "usage: tcp_cluster --name NAME --listen ADDRESS --peers NAME=ADDRESS,.. \
     --dir DIR [--heartbeat-ms N] [--election-ms N] [--snapshot-count N] [--segment-bytes N]";

const HELP: &str = "\
put KEY VALUE   the value is the rest of the line
get KEY
range [PREFIX]  a line `kv ..` for each key, then the answer
del KEY
status          what this member says of itself
hash            a hash of all it holds, to compare with the others
quit
Each command is answered by a line that starts with `ok` or `error`; an error goes on with what
became of a write (`not-applied` or `unknown`) and the cause. A command may have a tag, as in
`@7 put k v`: its answer has it too, and the next command does not wait for it.";

/// Commands with a tag that run at a time.
const WORKERS: usize = 16;

struct Options {
    listen: String,
    peers: Vec<(String, String)>,
    config: Config,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut given = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("what is {word}?"))?;
            let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
            given.insert(name.to_owned(), value);
        }
        let mut needed = |name: &str| given.remove(name).ok_or(format!("--{name} is missing"));
        let (name, listen) = (needed("name")?, needed("listen")?);
        let (peers, dir) = (needed("peers")?, needed("dir")?);
        let split = |peer: &str| {
            let (name, address) = peer.split_once('=').ok_or(format!("{peer}: no NAME=ADDRESS"))?;
            Ok::<_, String>((name.to_owned(), address.to_owned()))
        };
        let peers = peers.split(',').map(split).collect::<Result<Vec<_>, _>>()?;
        let mut config = Config::new(name, dir)
            .initial_cluster(peers.clone())
            .max_message_bytes(MAX_FRAME_BYTES);
        for (name, value) in given {
            let number: u64 = value.parse().map_err(|_| format!("--{name}: {value}: no number"))?;
            config = match name.as_str() {
                "heartbeat-ms" => config.heartbeat_interval(Duration::from_millis(number)),
                "election-ms" => config.election_timeout(Duration::from_millis(number)),
                "snapshot-count" => config.snapshot_count(number),
                "segment-bytes" => config.segment_bytes(number),
                _ => return Err(format!("what is --{name}?").into()),
            };
        }
        Ok(Self { listen, peers, config })
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let Options { listen, peers, config } = options;
    let mut names = HashMap::new();
    for (name, _) in &peers {
        let id = Config::new(name, "unused").initial_cluster(peers.clone()).node_id()?;
        names.insert(id, name.clone());
    }
    let tcp = Tcp::bind(&listen, config.node_id()?)
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let node = Node::open(config, tcp.clone())?;
    tcp.serve(node.inbox());
    say("", &format!("ready {}", node.status().name))?;
    let prompt = Prompt { node: &node, names };
    let typed = prompt.run();
    let closed = node.close(Duration::from_secs(5));
    tcp.close();
    typed?;
    Ok(closed?)
}

struct Prompt<'a> {
    node: &'a Node,
    names: HashMap<NodeId, String>,
}

impl Prompt<'_> {
    /// Takes commands until `quit` or the end of the input.
    fn run(&self) -> io::Result<()> {
        let (queue, tagged) = sync_channel::<(String, String)>(WORKERS);
        let tagged = Mutex::new(tagged);
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    loop {
                        let next = lock(&tagged).recv();
                        let Ok((tag, command)) = next else { return };
                        // Nobody reads the answers any more: there is nobody to tell that.
                        let _ = say(&tag, &self.answer(&command));
                    }
                });
            }
            let typed = self.read(&queue);
            // The workers end after the last command.
            drop(queue);
            typed
        })
    }

    fn read(&self, queue: &SyncSender<(String, String)>) -> io::Result<()> {
        let is_terminal = io::stdin().is_terminal();
        let mut lines = io::stdin().lock().lines();
        loop {
            if is_terminal {
                eprint!("> ");
            }
            let Some(line) = lines.next() else { return Ok(()) };
            let line = line?;
            match line.split_once(' ') {
                Some((tag, command)) if tag.starts_with('@') => {
                    // No worker is left only if all of them panicked.
                    let _ = queue.send((format!("{tag} "), command.to_owned()));
                }
                _ if line == "quit" => return Ok(()),
                _ => say("", &self.answer(&line))?,
            }
        }
    }

    fn answer(&self, command: &str) -> String {
        self.execute(command).unwrap_or_else(|error| {
            let outcome = if error.is_unknown() { "unknown" } else { "not-applied" };
            format!("error {outcome} {error}")
        })
    }

    fn execute(&self, command: &str) -> quorate::Result<String> {
        let store = self.node.store();
        let (verb, rest) = command.trim().split_once(' ').unwrap_or((command.trim(), ""));
        let key = rest.split(' ').next().unwrap_or_default().to_owned();
        Ok(match verb {
            "put" => {
                let value = rest.split_once(' ').map_or("", |(_, value)| value).to_owned();
                format!("ok revision={}", store.put(key, value).wait()?.header.revision)
            }
            "get" => {
                let read = store.get(key).wait()?;
                let found = read.kv.as_ref().map_or("none".to_owned(), show);
                format!("ok revision={} {found}", read.header.revision)
            }
            "range" => {
                let read = store.range(KeyRange::prefix(key)).wait()?;
                let mut text = String::new();
                for kv in &read.kvs {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "kv {}", show(kv));
                }
                let (revision, count) = (read.header.revision, read.count);
                let _ = write!(text, "ok revision={revision} count={count}");
                text
            }
            "del" => {
                let done = store.delete(KeyRange::key(key)).wait()?;
                format!("ok revision={} deleted={}", done.header.revision, done.deleted)
            }
            "status" => self.status(),
            "hash" => {
                let state = self.node.hash();
                let (applied, revision) = (state.applied, state.revision);
                format!("ok applied={applied} revision={revision} hash={:08x}", state.hash)
            }
            "help" => format!("{HELP}\nok"),
            "" => "ok".to_owned(),
            _ => "error not-applied no such command: try help".to_owned(),
        })
    }

    fn status(&self) -> String {
        let status = self.node.status();
        let leader = status.leader.and_then(|id| self.names.get(&id)).map_or("none", |name| name);
        format!(
            "ok name={} role={} leader={leader} term={} commit={} applied={} revision={} keys={} \
             snapshots={} halted={}",
            status.name,
            status.role,
            status.term,
            status.commit,
            status.applied,
            status.revision,
            status.keys,
            status.snapshots,
            status.halted.as_deref().unwrap_or("no"),
        )
    }
}

fn show(kv: &KeyValue) -> String {
    let (key, value) = (kv.key().escape_ascii(), kv.value().escape_ascii());
    format!("key={key} version={} mod={} value={value}", kv.version(), kv.mod_revision())
}

/// One write for all of an answer, so that a kill does not tear a line, and answers do not mix.
fn say(tag: &str, answer: &str) -> io::Result<()> {
    let text: String = answer.lines().flat_map(|line| [tag, line, "\n"]).collect();
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
