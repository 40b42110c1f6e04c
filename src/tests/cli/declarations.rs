//! What `check-config` says of wrong declarations of streams: every fault, its line, and what was meant.

use super::{Shell, faults};

#[test]
fn a_wrong_declaration_is_shown_line_by_line() {
    let shell = Shell::new();
    let file = shell.file(
        "c.toml",
        "\
[streams.views]
projection = \"agregate\"

[streams.sales]
projection = \"aggregate\"
group_by = [\"region\", \"/shop\"]
tme = \"/at\"
windw = 3
id = \"/id\"

[streams.sales.aggregates]
total = \"sum /euros\"
p99 = \"quantil 0.99 /ms\"
late = \"count\"

  [streams.sales.rooms]
  \"a b\" = \"\"

[streams.orders]
projection = \"log\"
collection = \"sales\"
schema = '{\"type\":\"nombre\"}'

[streams.kv]
key = \"/id\"

[streams.hours]
projection = \"aggregate\"
aggregates = { n = \"count\" }
window = \"tumbling\"
window_s = 3600
slide_s = 7
",
    );
    let text = "\
statecast: the configuration has 14 faults:
  c.toml:2:1: streams.views.projection must be one of own, latest, log, aggregate, recent, not \"agregate\"; did you mean aggregate?
    2 | projection = \"agregate\"
        ^
  c.toml:7:1: streams.sales.tme is not a setting; did you mean streams.sales.time?
    7 | tme = \"/at\"
        ^
  c.toml:8:1: streams.sales.windw is not a setting; did you mean streams.sales.window?
    8 | windw = 3
        ^
  c.toml:32:1: streams.hours.slide_s has no effect unless window is sliding
    32 | slide_s = 7
         ^
  c.toml:25:1: streams.kv.key has no effect: the stream kv is built in
    25 | key = \"/id\"
         ^
  c.toml:22:1: streams.orders.schema is no JSON Schema: \"nombre\" is not valid under any of the schemas listed in the 'anyOf' keyword
    22 | schema = '{\"type\":\"nombre\"}'
         ^
  c.toml:19:10: streams.orders.id is required where projection is log: a JSON Pointer to the id of an event
    19 | [streams.orders]
                  ^
  c.toml:6:1: streams.sales.group_by must be a JSON Pointer, not \"region\"; did you mean \"/region\"?
    6 | group_by = [\"region\", \"/shop\"]
        ^
  c.toml:14:1: streams.sales.aggregates.late needs another name: an aggregate shows this beside its figures
    14 | late = \"count\"
         ^
  c.toml:13:1: streams.sales.aggregates.p99 must be one of count, sum, min, max, mean, last, distinct, quantile, not \"quantil\"; did you mean quantile?
    13 | p99 = \"quantil 0.99 /ms\"
         ^
  c.toml:17:3: streams.sales.rooms.a b needs a name of a-z, 0-9 and -, 100 at most
    17 |   \"a b\" = \"\"
           ^
  c.toml:17:3: streams.sales.rooms.a b must be the key whose state the room shows
    17 |   \"a b\" = \"\"
           ^
  c.toml:9:1: streams.sales.id has no effect unless projection is log
    9 | id = \"/id\"
        ^
  c.toml:21:1: streams.sales.collection must differ from that of stream orders: \"sales\" cannot keep the state of two
    21 | collection = \"sales\"
         ^
";
    let ended = shell.ends(&["check-config", "--config", &file]);
    assert_eq!(ended, faults(text));
}
