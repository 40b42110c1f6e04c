//! What each error of librdkafka means for us: one table.
//!
//! Invariant: what librdkafka mends by itself is `Passing`; only what somebody must act on is `Fatal`.
//! Not here: what is done about it.

use crate::ports::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// The consequence of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// librdkafka reconnects, retries, refreshes: go on.
    Passing,
    /// Rights, credentials, or a client that cannot go on: somebody must act, or the client must be made anew.
    Fatal,
    /// Bytes in the log that cannot be read.
    Corrupt,
    /// This record will never be taken.
    Refused,
}

pub fn class(code: Code) -> Class {
    match code {
        // Credentials and rights.
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SecurityDisabled
        // Configuration that the group or the brokers do not take.
        | Code::InconsistentGroupProtocol
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InvalidTopic
        | Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::InvalidConfig
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::InvalidArgument
        // Another took this one's place, or the client has given up.
        | Code::Fenced
        | Code::FencedInstanceId
        | Code::Fatal => Class::Fatal,
        Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::InvalidMessage => Class::Corrupt,
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::MessageBatchTooLarge
        | Code::InvalidTimestamp
        | Code::InvalidRecord
        | Code::UnknownPartition => Class::Refused,
        _ => Class::Passing,
    }
}

/// The error of a question to the brokers, in which nothing was changed.
pub fn question(error: &KafkaError) -> LogError {
    let text = error.to_string();
    match error.rdkafka_error_code().map(class) {
        Some(Class::Fatal) => LogError::Fatal(text),
        _ => LogError::Unavailable(text),
    }
}

/// The error of a question through `kafka_native`.
pub fn native(error: &kafka_native::Error) -> LogError {
    let text = format!("{} ({:?})", error.text, error.code);
    match class(error.code) {
        Class::Fatal => LogError::Fatal(text),
        _ => LogError::Unavailable(text),
    }
}

/// The error of an append. `never_sent`: librdkafka knows that no log has the record.
pub fn append(code: Code, never_sent: bool) -> LogError {
    let text = code.to_string();
    match class(code) {
        Class::Fatal => LogError::Fatal(text),
        Class::Refused => LogError::Refused(text),
        // A broker that finds a batch damaged has not taken it; what arrives damaged is sent again by the caller.
        Class::Corrupt | Class::Passing if never_sent => LogError::Unavailable(text),
        Class::Corrupt | Class::Passing => LogError::Unknown(text),
    }
}

/// A client could not be made. The value is left out: it may be a secret.
pub fn creation(error: &KafkaError) -> LogError {
    match error {
        KafkaError::ClientConfig(_, why, name, _) => LogError::Fatal(format!("kafka setting {name}: {why}")),
        other => LogError::Fatal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_mends_is_not_fatal() {
        for code in
            [Code::AllBrokersDown, Code::BrokerTransportFailure, Code::PollExceeded, Code::NotCoordinator]
        {
            assert_eq!(class(code), Class::Passing, "{code:?}");
        }
        assert_eq!(class(Code::FencedInstanceId), Class::Fatal);
    }

    #[test]
    fn rule_21_an_append_is_unknown_unless_it_certainly_never_left() {
        assert!(matches!(append(Code::MessageTimedOut, false), LogError::Unknown(_)));
        assert!(matches!(append(Code::MessageTimedOut, true), LogError::Unavailable(_)));
        assert!(matches!(append(Code::QueueFull, true), LogError::Unavailable(_)));
        assert!(matches!(append(Code::MessageSizeTooLarge, true), LogError::Refused(_)));
        assert!(matches!(append(Code::TopicAuthorizationFailed, true), LogError::Fatal(_)));
    }

    #[test]
    fn a_setting_that_fails_is_named_without_its_value() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.mechanism", "PLAIN").set("no.such.setting", "hunter2");
        let error = config.create::<rdkafka::producer::BaseProducer>().err().expect("refused");
        let text = creation(&error).to_string();
        assert!(text.contains("no.such.setting") && !text.contains("hunter2"), "{text}");
    }
}
