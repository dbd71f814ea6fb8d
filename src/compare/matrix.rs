//! What is measured: servers, cells, kinds of run, and the order of a round. Nothing is started here.

use super::Options;

/// A server that can be put into the table.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// The null test: a child that answers every request with the same bytes and does nothing else. What it
    /// reaches is what the client, the system and loopback can do together: the floor of every figure.
    Echo,
    /// This binary, by the names its own flags use.
    Own {
        /// `--model`
        model: String,
        /// `--idle`, where the model has a choice.
        idle: Option<String>,
        /// `--sweep`, likewise.
        sweep: Option<String>,
    },
    /// Any other server, by the command that starts it.
    External {
        /// What to call it.
        name: String,
        /// For `sh`, with `{port}` and `{root}` to fill in.
        command: String,
    },
}

/// The one model that sweeps, and therefore has idle strategies and kinds of sweep.
pub const SWEEPING: &str = "nonblocking";

impl Server {
    /// The server that sweeps, with this idle strategy and this sweep.
    pub fn sweeping(idle: &str, sweep: &str) -> Self {
        Self::Own { model: SWEEPING.to_owned(), idle: Some(idle.to_owned()), sweep: Some(sweep.to_owned()) }
    }

    /// Whether this is the sweeping server with this idle strategy and this sweep.
    pub fn is_sweeping(&self, with_idle: &str, with_sweep: &str) -> bool {
        matches!(self, Self::Own { idle: Some(idle), sweep: Some(sweep), .. } if idle == with_idle && sweep == with_sweep)
    }

    /// Whether this is the given model of ours.
    pub fn is_model(&self, name: &str) -> bool {
        matches!(self, Self::Own { model, .. } if model == name)
    }

    /// A name that tells it from all others in the table.
    pub fn name(&self) -> String {
        match self {
            Self::Echo => "echo".to_owned(),
            Self::Own { model, idle, sweep } => {
                let mut name = String::new();
                if model != SWEEPING || idle.is_none() {
                    name.push_str(model);
                }
                for part in [idle, sweep].into_iter().flatten() {
                    if !name.is_empty() {
                        name.push(' ');
                    }
                    name.push_str(part);
                }
                name
            }
            Self::External { name, .. } => name.clone(),
        }
    }

    /// Whether its counters can be asked for while it runs: one thread has counted everything, and it is free to answer.
    /// The others tell theirs at the end; none of them spins, so that starting and stopping hardly count.
    pub fn has_live_counters(&self) -> bool {
        matches!(self, Self::Own { model, .. } if !matches!(model.as_str(), "blocking" | "process" | "thread"))
    }

    /// How many connections can be active at once: the `blocking` model serves one client until it leaves.
    pub fn active(&self, asked: usize) -> usize {
        if self.is_model("blocking") { 1 } else { asked }
    }

    /// Whether one thread does all the work, so that time spent runnable but not running is a stranger's doing.
    pub fn is_one_thread(&self) -> bool {
        match self {
            Self::Echo => true,
            Self::Own { model, .. } => !matches!(model.as_str(), "thread" | "process"),
            Self::External { .. } => false,
        }
    }
}

/// A server with some number of silent connections.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Cell {
    /// What serves.
    pub server: Server,
    /// Connections that are held open and never say anything (N).
    pub silent: usize,
}

/// What one run of a cell measures. Each run is a child process of its own.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// No request at all.
    Idle,
    /// Open loop at this many requests a second.
    Rate(f64),
    /// Closed loop: as many as the server gives.
    Max,
}

/// One thing to measure, once per round.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Measurement {
    /// Of which server, among how many silent connections.
    pub cell: Cell,
    /// In which way.
    pub kind: Kind,
}

/// The measurements of one round, each once, in a fixed order.
pub fn plan(options: &Options) -> Vec<Measurement> {
    let mut plan = Plan(Vec::new());
    let servers = servers(options);

    plan.add(&Server::Echo, 0, &[Kind::Rate(options.rate), Kind::Max]);
    for server in &servers {
        for &silent in &options.silent {
            // With nobody silent the two sweeps are the same loop: measure it once.
            if silent == 0 && is_second_sweep(server, options) {
                continue;
            }
            plan.add(server, silent, &[Kind::Idle, Kind::Rate(options.rate), Kind::Max]);
        }
    }
    // The straight line a + N·r needs more N than the table has.
    for server in servers
        .iter()
        .filter(|server| server.is_sweeping("spin", "full") || server.is_sweeping("spin", "hot"))
    {
        for &silent in &options.series {
            plan.add(server, silent, &[Kind::Idle]);
        }
    }
    for server in servers.iter().filter(|server| on_the_load_curve(server)) {
        if is_second_sweep(server, options) {
            continue;
        }
        for &rate in &options.curve {
            plan.add(server, 0, &[Kind::Rate(rate)]);
        }
    }
    plan.0
}

fn servers(options: &Options) -> Vec<Server> {
    let mut servers = Vec::new();
    for model in &options.models {
        if model == SWEEPING {
            for idle in &options.idle {
                servers.extend(options.sweeps.iter().map(|sweep| Server::sweeping(idle, sweep)));
            }
        } else {
            servers.push(Server::Own { model: model.clone(), idle: None, sweep: None });
        }
    }
    servers.extend(
        options
            .externals
            .iter()
            .map(|(name, command)| Server::External { name: name.clone(), command: command.clone() }),
    );
    servers
}

fn is_second_sweep(server: &Server, options: &Options) -> bool {
    matches!(server, Server::Own { sweep: Some(sweep), .. } if options.sweeps.first() != Some(sweep))
}

/// Which servers are measured at several rates: the two ends (spinning, blocking) and what lies between them.
fn on_the_load_curve(server: &Server) -> bool {
    match server {
        Server::Own { model, idle: Some(idle), .. } => {
            model == SWEEPING && matches!(idle.as_str(), "spin" | "backoff" | "park")
        }
        Server::Own { model, .. } => matches!(model.as_str(), "poll" | "epoll"),
        Server::Echo | Server::External { .. } => false,
    }
}

struct Plan(Vec<Measurement>);

impl Plan {
    fn add(&mut self, server: &Server, silent: usize, kinds: &[Kind]) {
        for &kind in kinds {
            let measurement = Measurement { cell: Cell { server: server.clone(), silent }, kind };
            if !self.0.contains(&measurement) {
                self.0.push(measurement);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Server, plan};
    use crate::compare::Options;

    #[test]
    fn nothing_is_measured_twice_and_the_null_test_is_always_there() {
        for options in [Options::quick(), Options::full()] {
            let plan = plan(&options);
            for (i, one) in plan.iter().enumerate() {
                assert!(!plan[..i].contains(one), "{one:?} twice");
            }
            assert!(plan.iter().any(|m| m.cell.server == Server::Echo && m.kind == Kind::Max));
        }
    }

    #[test]
    fn without_silent_connections_the_two_sweeps_are_measured_once() {
        let options = Options { silent: vec![0, 10], ..Options::quick() };
        let plan = plan(&options);
        let spins = |silent| {
            plan.iter()
                .filter(|m| {
                    m.kind == Kind::Max && m.cell.silent == silent && m.cell.server.name().starts_with("spin")
                })
                .count()
        };
        assert_eq!(spins(0), 1);
        assert_eq!(spins(10), 2);
    }

    #[test]
    fn an_external_server_stands_in_the_same_table() {
        let options = Options {
            externals: vec![("nginx".to_owned(), "nginx {port} {root}".to_owned())],
            ..Options::quick()
        };
        let names: Vec<String> = plan(&options).iter().map(|m| m.cell.server.name()).collect();
        assert!(names.contains(&"nginx".to_owned()));
        assert!(names.contains(&"epoll".to_owned()));
        assert!(names.contains(&"spin full".to_owned()));
    }
}
