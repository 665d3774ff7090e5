//! The one thread that creates worker processes.
//!
//! A worker asks the kernel to kill it when its parent dies (`PR_SET_PDEATHSIG`). The kernel means
//! the parent *thread*, and threads of the async runtime come and go; this one stays.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The thread's address; the thread ends when this value goes.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of creating a thread.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let run = move || {
            for Order { mut command, runtime, reply } in inbox {
                // The runtime watches for the child's exit.
                let _entered = runtime.enter();
                // Nobody waiting any more: the child is killed as the reply is dropped.
                let _ = reply.send(command.spawn());
            }
        };
        thread::Builder::new().name("modeld-spawn".into()).spawn(run)?;
        Ok(Self { orders })
    }

    /// Spawns a child. The command, and with it our copy of the child's socket, is closed before
    /// this returns.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, child) = oneshot::channel();
        let order = Order { command, runtime: Handle::current(), reply };
        let gone = || io::Error::other("the thread that creates workers is gone");
        self.orders.send(order).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
