//! Handles the requests of the listener. Each is checked against the configuration. A request that
//! an administrator can cause has its own file.

mod close;
mod fleet;
mod flush;
mod granted;
mod lifecycle;
mod open;
mod reload;
mod report;
mod withdraw;

use knockd_ipc::{message::Message, request::Request};
use tracing::warn;

use crate::{refusal::Refusal, state::Supervisor};

impl Supervisor {
    /// Handles a request that is allowed in the listener's phase.
    pub(crate) fn handle_request(&mut self, request: Request) {
        match request {
            Request::Ready => self.listener_ready(),
            Request::Open(request) => self.open(request),
            Request::Withdraw(request) => self.withdraw(request),
            Request::Mirror(request) => self.mirror(request),
            Request::Expel(request) => self.expel(request),
            Request::Close(request) => self.close(request),
            Request::Reload(request) => self.reload(Some(request.query)),
            Request::Report(request) => self.report(request),
            Request::Follow(follows) => self.datapath.set_kernel_log(follows),
            Request::Notify(wanted) => self.listener.outbox().want_notices(wanted),
            Request::Flush => self.flush(),
            Request::Ended => self.lines_ended(),
            Request::Alive => self.listener.alive(),
        }
    }

    /// Answers `query` with the names of doors. Kills a listener that sent an invalid request.
    fn answer(&mut self, query: u32, outcome: Result<Vec<String>, Refusal>) {
        let outcome = match outcome {
            Ok(doors) => Ok(doors),
            Err(Refusal::Denied(reason)) => Err(reason),
            Err(Refusal::Invalid(reason)) => return self.listener.kill(&reason),
        };
        if query != 0 {
            self.listener.send(Message::Answer(query, outcome));
        } else if let Err(reason) = outcome {
            warn!("a knock has no effect: {reason}");
        }
    }
}
