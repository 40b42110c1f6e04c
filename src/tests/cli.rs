//! The command line, through the function that `main` calls: what it says, where, and with which exit.

mod declarations;

use crate::{
    apps::BUILT_IN,
    cli::{self, Ended, Exit, Next},
    config::{Config, LogKind, StoreKind},
};
use std::{ffi::OsString, fs, path::PathBuf};
use tempfile::TempDir;

/// A folder for files, an environment, and the program's answer to arguments.
struct Shell {
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Shell {
    fn new() -> Self {
        Shell { folder: TempDir::new().unwrap(), environment: Vec::new() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn variable(&mut self, name: &str, text: &str) {
        self.environment.push((name.into(), text.into()));
    }

    fn run(&self, arguments: &[&str]) -> Next {
        let arguments = std::iter::once("statecast").chain(arguments.iter().copied());
        cli::run(arguments.map(OsString::from).collect(), self.environment.clone())
    }

    /// The end, with the folder's name taken out of what was said.
    fn ends(&self, arguments: &[&str]) -> Ended {
        let Next::End(mut ended) = self.run(arguments) else { panic!("{arguments:?} does not end") };
        let folder = format!("{}/", self.folder.path().display());
        ended.stdout = ended.stdout.replace(&folder, "");
        ended.stderr = ended.stderr.replace(&folder, "");
        ended
    }

    fn serves(&self, arguments: &[&str]) -> Config {
        match self.run(arguments) {
            Next::Serve(config) => *config,
            other => panic!("{other:?}"),
        }
    }
}

fn faults(text: &str) -> Ended {
    Ended { exit: Exit::Configuration, stdout: String::new(), stderr: text.into() }
}

#[test]
fn without_arguments_it_helps_and_says_that_this_was_no_use() {
    let ended = Shell::new().ends(&[]);
    assert_eq!((ended.exit.code(), ended.stdout.as_str()), (64, ""));
    for word in ["serve", "check-config", "default-config", "topics", "dlq", "version", "Exit codes"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}

#[test]
fn help_and_version_are_answers() {
    let shell = Shell::new();
    for arguments in [vec!["--help"], vec!["serve", "--help"], vec!["version"], vec!["--version"]] {
        let ended = shell.ends(&arguments);
        assert_eq!((ended.exit.code(), ended.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    assert_eq!(shell.ends(&["version"]).stdout, format!("statecast {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_no_command_is_a_fault() {
    let shell = Shell::new();
    for arguments in [vec!["serv"], vec!["serve", "--lisen", "x"], vec!["topics"], vec!["serve", "now"]] {
        let ended = shell.ends(&arguments);
        assert_eq!((ended.exit.code(), ended.stdout.as_str()), (64, ""), "{arguments:?}");
    }
    let ended = shell.ends(&["serve", "mongodb://bob:hunter2@db/"]);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(Shell::new().serves(&["serve"]), Config::default());
}

#[test]
fn flags_win_over_environment_over_files() {
    let mut shell = Shell::new();
    let first =
        shell.file("first.toml", "[engine]\nshards = 1\nthreads = 1\nwaiters_max = 1\nfailures_max = 1\n");
    let second = shell.file("second.toml", "[engine]\nthreads = 2\nwaiters_max = 2\nfailures_max = 2\n");
    shell.variable("STATECAST_ENGINE__WAITERS_MAX", "3");
    shell.variable("STATECAST_ENGINE__FAILURES_MAX", "3");
    let arguments = ["serve", "--config", &first, "--config", &second, "--set", "engine.failures_max=4"];
    let engine = shell.serves(&arguments).engine;
    assert_eq!((engine.shards, engine.threads, engine.waiters_max, engine.failures_max), (1, 2, 3, 4));
}

#[test]
fn the_short_flags_are_settings() {
    let config = Shell::new().serves(&[
        "serve",
        "--listen=0.0.0.0:0",
        "--admin-listen=127.0.0.1:0",
        "--data-dir=/var/lib/statecast",
        "--log-level=warn,statecast=debug",
    ]);
    assert_eq!(
        (config.server.listen.as_str(), config.server.admin_listen.as_str()),
        ("0.0.0.0:0", "127.0.0.1:0")
    );
    assert_eq!(config.embedded.data_dir, PathBuf::from("/var/lib/statecast"));
    assert_eq!(config.telemetry.log_level, "warn,statecast=debug");
}

#[test]
fn a_whole_deployment_fits_the_environment() {
    let mut shell = Shell::new();
    for (name, text) in [
        ("STATECAST_LOG__KIND", "kafka"),
        ("STATECAST_KAFKA__BROKERS", "host:9092"),
        ("STATECAST_KAFKA__CREATE_TOPICS", "false"),
        ("STATECAST_KAFKA__PROPERTIES__SOCKET_TIMEOUT_MS", "9000"),
        ("STATECAST_STORE__KIND", "mongodb"),
        ("STATECAST_MONGODB__URI", "mongodb://bob:hunter2@db:27017/?replicaSet=rs0"),
        ("STATECAST_SECURITY__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
        ("STATECAST_STREAMS__KV__TOPIC", "values.v1"),
        // What Kubernetes sets for a service of this name is not ours.
        ("STATECAST_PORT", "tcp://10.0.0.1:8080"),
        ("STATECAST_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ] {
        shell.variable(name, text);
    }
    let config = shell.serves(&["serve"]);
    assert_eq!((config.log.kind, config.store.kind), (LogKind::Kafka, StoreKind::Mongodb));
    assert_eq!((config.kafka.brokers.as_str(), config.kafka.create_topics), ("host:9092", false));
    assert_eq!(config.kafka.properties["socket.timeout.ms"], "9000");
    assert_eq!(config.security.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.streams["kv"].topic, "values.v1");
}

#[test]
fn files_say_the_same() {
    let shell = Shell::new();
    let text = "\
[kafka.properties]
socket.timeout.ms = 9000
\"client.id\" = \"mine\"
[streams.kv]
[security]
allowed_origins = [\"https://a.example\"]
";
    let config = shell.serves(&["serve", "--config", &shell.file("c.toml", text)]);
    assert_eq!(config.kafka.properties["socket.timeout.ms"], "9000");
    assert_eq!(config.kafka.properties["client.id"], "mine");
    assert_eq!(config.streams.keys().collect::<Vec<_>>(), ["kv"]);
    assert_eq!(config.security.allowed_origins, ["https://a.example"]);
}

#[test]
fn the_environment_names_a_file_where_no_flag_does() {
    let mut shell = Shell::new();
    let named = shell.file("named.toml", "[engine]\nshards = 7\n");
    let flagged = shell.file("flagged.toml", "[engine]\nthreads = 2\n");
    shell.variable("STATECAST_CONFIG", &named);
    assert_eq!(shell.serves(&["serve"]).engine.shards, 7);
    let engine = shell.serves(&["serve", "--config", &flagged]).engine;
    assert_eq!((engine.shards, engine.threads), (Config::default().engine.shards, 2));
}

#[test]
fn every_fault_is_told_at_once() {
    let mut shell = Shell::new();
    let file = shell.file(
        "bad.toml",
        "\
[kafka]
brokerz = \"host:9092\"
create_topics = \"yes\"
sasl_password = 12345

[kafak]
brokers = \"host:9092\"

[log]
kind = \"kafak\"

[engine]
shards = -1
batch_bytes_max = 13_000_000
in_flight_bytes_max = 13_000_000
",
    );
    shell.variable("STATECAST_ENGINE__THREADS", "two");
    shell.variable("STATECAST_MONGODB__POOL_MAX", "5000000000");
    shell.variable("STATECAST_NOTHING__AT_ALL", "hunter2");
    shell.variable("STATECAST_KAFKA_BROKERS", "host:9092");
    let arguments = ["serve", "--config", &file, "--set", "uri=mongodb://bob:hunter2@db", "--set", "kafka"];
    let ended = shell.ends(&[&arguments[..], &["--listen", "8080"]].concat());
    assert_eq!(
        ended,
        faults(
            "\
statecast: the configuration has 14 faults:
  bad.toml:2:1: kafka.brokerz is not a setting; did you mean kafka.brokers?
  bad.toml:3:1: kafka.create_topics must be true or false, not text
  bad.toml:4:1: kafka.sasl_password must be text, not a number
  bad.toml:6:2: kafak is not a setting; did you mean kafka?
  bad.toml:10:1: log.kind must be one of embedded, kafka, memory, not \"kafak\"; did you mean kafka?
  bad.toml:13:1: engine.shards must be a whole number of 0 or more
  STATECAST_ENGINE__THREADS: engine.threads must be a whole number of 0 or more
  STATECAST_KAFKA_BROKERS: this has no effect; did you mean STATECAST_KAFKA__BROKERS, with two underscores?
  STATECAST_MONGODB__POOL_MAX: mongodb.pool_max must be a whole number from 0 to 4294967295
  STATECAST_NOTHING__AT_ALL: nothing is not a setting
  --set uri: uri is not a setting; did you mean mongodb.uri?
  --set: this needs SECTION.FIELD=VALUE
  --listen: server.listen must be IP:PORT, like 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080
  bad.toml:14:1: engine.batch_bytes_max (13000000) must be at most what one command of the store takes (12000000): a batch goes in one command
"
        )
    );
}

#[test]
fn check_config_and_topics_tell_the_same_faults() {
    let shell = Shell::new();
    let why = "statecast: the configuration has a fault:\n  --set log.kind: kafka.brokers is required where log.kind is kafka: HOST:PORT, comma separated\n";
    for command in [&["serve"][..], &["check-config"], &["topics", "apply"]] {
        assert_eq!(shell.ends(&[command, &["--set", "log.kind=kafka"]].concat()), faults(why), "{command:?}");
    }
}

#[test]
fn a_stream_that_is_not_there_is_told_where_it_is_named() {
    let mut shell = Shell::new();
    shell.variable("STATECAST_STREAMS__MY_ORDERS__TOPIC", "orders.v1");
    let file = shell.file("c.toml", "[streams.\"a/b\"]\ntopic = \"x\"\n\n[streams.kvv]\n");
    let text = "\
statecast: the configuration has 3 faults:
  c.toml:1:10: streams.a/b: the name of a stream may hold only a-z, 0-9 and -: it names a collection, a room and a part of URLs
    1 | [streams.\"a/b\"]
                 ^
  c.toml:4:10: streams.kvv: no stream of this name is built in, so it must say its projection: latest, log, aggregate or recent; did you mean streams.kv?
    4 | [streams.kvv]
                 ^
  STATECAST_STREAMS__MY_ORDERS__TOPIC: streams.my-orders: no stream of this name is built in, so it must say its projection: latest, log, aggregate or recent
";
    assert_eq!(shell.ends(&["serve", "--config", &file]), faults(text));
}

#[test]
fn files_that_cannot_be_read_are_faults() {
    let shell = Shell::new();
    let broken = shell.file("broken.toml", "[engine]\nshards = = 2\n\nthreads = \n[engine]\nshards = 1\n");
    let missing = shell.path("missing.toml").display().to_string();
    let folder = shell.folder.path().display().to_string();
    fs::write(shell.path("latin.toml"), b"# \xe9\n").unwrap();
    let latin = shell.path("latin.toml").display().to_string();
    let flags = [&missing, &folder, &latin, &broken].map(|path| ["--config", path.as_str()]);
    let ended = shell.ends(&[&["check-config"][..], flags.concat().as_slice()].concat());
    assert_eq!(ended.exit, Exit::Configuration);
    for line in [
        "missing.toml: there is no such file",
        "latin.toml: this is not UTF-8",
        "broken.toml:2:10: this is not TOML",
    ] {
        assert!(ended.stderr.contains(line), "{line}: {}", ended.stderr);
    }
    assert!(
        ended.stderr.contains("broken.toml:4:11: this is not TOML"),
        "the second one too: {}",
        ended.stderr
    );
    assert!(ended.stderr.contains("this cannot be read"), "a folder: {}", ended.stderr);
}

#[test]
fn what_stands_under_a_broken_header_is_not_taken_for_another_table() {
    let shell = Shell::new();
    let text = "[engine]\nshards = 2\n[server\nlisten = \"x\"\n[kafka]\nwrong = 1\n";
    let file = shell.file("broken.toml", text);
    let ended = shell.ends(&["check-config", "--config", &file]);
    assert!(ended.stderr.contains("has 2 faults"), "{}", ended.stderr);
    assert!(ended.stderr.contains("broken.toml:3:8: this is not TOML"), "{}", ended.stderr);
    assert!(ended.stderr.contains("broken.toml:6:1: kafka.wrong is not a setting"), "{}", ended.stderr);
}

#[test]
fn a_file_without_end_is_not_read_to_it() {
    let ended = Shell::new().ends(&["check-config", "--config", "/dev/zero"]);
    let why = "statecast: the configuration has a fault:\n  /dev/zero: this is over 1 MiB, so it is no configuration\n";
    assert_eq!(ended, faults(why));
}

#[test]
fn check_config_says_what_it_comes_to_and_no_secret() {
    let mut shell = Shell::new();
    let file = shell.file(
        "good.toml",
        "[log]\nkind = \"kafka\"\n[kafka]\nbrokers = \"b1:9092,b2:9092\"\nlinger_ms = 1\n",
    );
    shell.variable("STATECAST_STORE__KIND", "mongodb");
    shell.variable(
        "STATECAST_MONGODB__URI",
        "mongodb://bob:hunter2@db1,db2:27018/x?authMechanismProperties=AWS_SESSION_TOKEN:tok",
    );
    shell.variable("STATECAST_KAFKA__PROPERTIES__SSL_KEY_PASSWORD", "key-pw");
    let ended = shell.ends(&["check-config", "--config", &file, "--set", "streams.kv.partitions=12"]);
    let mut streams: Vec<_> = BUILT_IN.iter().map(|built_in| built_in.stream).collect();
    streams.sort_unstable();
    assert_eq!((ended.exit, ended.stderr.as_str()), (Exit::Clean, ""), "{}", ended.stderr);
    assert_eq!(
        ended.stdout,
        format!(
            "\
configuration is good

public   http://127.0.0.1:8080
admin    http://127.0.0.1:9090
log      kafka at b1:9092,b2:9092
store    mongodb, database statecast at mongodb://db1,db2:27018
streams  {}
memory   104 MiB of 128 MiB promised to buffers and caches

set, beside the defaults:
  kafka.brokers = \"b1:9092,b2:9092\"        good.toml:4:1
  kafka.properties.ssl.key.password = ***  STATECAST_KAFKA__PROPERTIES__SSL_KEY_PASSWORD
  log.kind = \"kafka\"                       good.toml:2:1
  mongodb.uri = ***                        STATECAST_MONGODB__URI
  store.kind = \"mongodb\"                   STATECAST_STORE__KIND
  streams.kv.partitions = 12               --set streams.kv.partitions
",
            streams.join(", ")
        )
    );
}

#[test]
fn the_default_configuration_loads_as_the_default() {
    let shell = Shell::new();
    let text = shell.ends(&["default-config"]).stdout;
    let file = shell.file("default.toml", &text);
    assert_eq!(shell.serves(&["serve", "--config", &file]), Config::default());
    // The example of a stream is good as well, once it is no comment any more.
    let example = text.split_once("# [streams.kv]").unwrap().1;
    let example = format!("[streams.kv]{}", example.replace("\n# ", "\n"));
    let config = shell.serves(&["serve", "--config", &shell.file("stream.toml", &example)]);
    assert_eq!(config.streams["kv"], crate::config::Stream::default());
}

#[test]
fn every_setting_is_printed_under_its_manual() {
    let text = Shell::new().ends(&["default-config"]).stdout;
    for (path, setting) in crate::config::setting::all() {
        let name = path.rsplit('.').next().unwrap();
        let last = setting.doc.lines().last().unwrap();
        let start = if setting.is_section() { String::new() } else { format!("# {last}\n{name} = ") };
        assert!(text.contains(&start), "{path}: {start}");
    }
}

#[test]
fn the_manual_is_what_the_code_says() {
    let manual = Shell::new().ends(&["default-config", "--markdown"]).stdout;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let remedy = "write it anew: statecast default-config --markdown > docs/configuration.md";
    assert!(fs::read_to_string(file).unwrap() == manual, "{remedy}");
}

#[test]
fn the_example_files_are_good() {
    let mut shell = Shell::new();
    shell.variable("STATECAST_MONGODB__URI", "mongodb://127.0.0.1:27017/?replicaSet=rs0");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let ended = shell.ends(&["check-config", "--config", &file.display().to_string()]);
        assert_eq!((ended.exit, ended.stderr.as_str()), (Exit::Clean, ""), "{file:?}: {}", ended.stderr);
    }
}

fn asks(shell: &Shell, arguments: &[&str]) -> cli::Order {
    match shell.run(arguments) {
        Next::DeadLetters(order) => *order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_instance_to_ask_is_the_one_that_is_configured() {
    let mut shell = Shell::new();
    assert_eq!(asks(&shell, &["dlq", "list"]).admin, "http://127.0.0.1:9090");
    shell.variable("STATECAST_SERVER__ADMIN_LISTEN", "0.0.0.0:9191");
    assert_eq!(asks(&shell, &["dlq", "list"]).admin, "http://127.0.0.1:9191");
    let set = ["dlq", "list", "kv", "--set", "server.admin_listen=[::]:9292"];
    assert_eq!(asks(&shell, &set).admin, "http://[::1]:9292");
    let nowhere = ["dlq", "list", "--set", "server.admin_listen=127.0.0.1:0"];
    let why =
        "statecast: server.admin_listen does not say where a running instance is; say it by --admin URL\n";
    assert_eq!(shell.ends(&nowhere), faults(why));
    // Who says whom to ask needs no configuration that is good here.
    shell.variable("STATECAST_LOG__KIND", "kafak");
    let said = ["dlq", "show", "kv", "0.1.7", "--admin", "http://other:1"];
    assert_eq!(asks(&shell, &said).admin, "http://other:1");
    assert_eq!(shell.ends(&["dlq", "list"]).exit, Exit::Configuration);
}

#[test]
fn an_order_names_letters_or_says_all() {
    let shell = Shell::new();
    for arguments in [
        &["dlq"][..],
        &["dlq", "show", "kv"],
        &["dlq", "show", "kv", "7"],
        &["dlq", "replay", "kv"],
        &["dlq", "replay", "kv", "0.1.7", "--all"],
        &["dlq", "discard", "kv", "0.1.7", "--reason", "too_deep"],
        &["dlq", "list", "kv", "--reason", "because"],
        &["dlq", "list", "--after", "3"],
    ] {
        let ended = shell.ends(arguments);
        assert_eq!((ended.exit.code(), ended.stdout.as_str()), (64, ""), "{arguments:?}");
    }
    asks(&shell, &["dlq", "replay", "kv", "0.1.7", "0.1.8", "--force"]);
    asks(&shell, &["dlq", "discard", "kv", "--all", "--reason", "too_deep", "--partition", "1"]);
}

#[test]
fn an_instance_that_is_away_is_said_with_where_and_exits_69() {
    // Bound and not listening: nobody else gets this port, and nobody answers at it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    let ended = asks(&Shell::new(), &["dlq", "list", "kv", "--admin", &format!("http://{at}")]).run();
    let why =
        format!("statecast: no instance answers at {at}; is it running, and is this its admin listener?\n");
    assert_eq!((ended.exit.code(), ended.stdout.as_str(), ended.stderr), (69, "", why));
    for wrong in ["127.0.0.1:9090", "https://host:1", "mailto:me"] {
        let ended = asks(&Shell::new(), &["dlq", "list", "--admin", wrong]).run();
        assert!(ended.stderr.contains("--admin must be like http://"), "{wrong}: {}", ended.stderr);
        assert_eq!(ended.exit.code(), 64, "{wrong}");
    }
}
