//! The JSON of the AWS command line, as far as it says what is answered (Route 53 API 2013-04-01).

use serde::Deserialize;

/// `list-resource-record-sets`
#[derive(Debug, Deserialize)]
pub(super) struct RecordSets {
    #[serde(rename = "ResourceRecordSets")]
    pub(super) sets: Vec<RecordSet>,
    /// There is more than this file holds.
    #[serde(rename = "IsTruncated", default)]
    pub(super) is_truncated: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecordSet {
    pub(super) name: String,
    #[serde(rename = "Type")]
    pub(super) rtype: String,
    #[serde(rename = "TTL")]
    pub(super) ttl: Option<u32>,
    #[serde(default)]
    pub(super) resource_records: Vec<Value>,
    pub(super) set_identifier: Option<String>,
    pub(super) weight: Option<u16>,
    pub(super) region: Option<String>,
    pub(super) geo_location: Option<GeoLocation>,
    pub(super) failover: Option<String>,
    pub(super) multi_value_answer: Option<bool>,
    pub(super) alias_target: Option<AliasTarget>,
    pub(super) health_check_id: Option<String>,
    pub(super) cidr_routing_config: Option<CidrRouting>,
    pub(super) geo_proximity_location: Option<GeoProximity>,
    pub(super) traffic_policy_instance_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Value {
    #[serde(rename = "Value")]
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GeoLocation {
    pub(super) continent_code: Option<String>,
    pub(super) country_code: Option<String>,
    pub(super) subdivision_code: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct AliasTarget {
    #[serde(rename = "DNSName")]
    pub(super) name: String,
    #[serde(rename = "EvaluateTargetHealth", default)]
    pub(super) evaluates_health: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CidrRouting {
    pub(super) collection_id: String,
    pub(super) location_name: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct GeoProximity {
    #[serde(rename = "AWSRegion")]
    pub(super) region: Option<String>,
    #[serde(rename = "LocalZoneGroup")]
    pub(super) local_zone: Option<String>,
    #[serde(rename = "Coordinates")]
    pub(super) coordinates: Option<Coordinates>,
    #[serde(rename = "Bias")]
    pub(super) bias: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Coordinates {
    pub(super) latitude: String,
    pub(super) longitude: String,
}

/// `list-health-checks`
#[derive(Debug, Default, Deserialize)]
pub(super) struct HealthChecks {
    #[serde(rename = "HealthChecks")]
    pub(super) checks: Vec<HealthCheck>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthCheck {
    pub(super) id: String,
    pub(super) health_check_config: HealthCheckConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthCheckConfig {
    #[serde(rename = "IPAddress")]
    pub(super) address: Option<String>,
    pub(super) port: Option<u16>,
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) resource_path: Option<String>,
    #[serde(rename = "FullyQualifiedDomainName")]
    pub(super) domain_name: Option<String>,
    pub(super) search_string: Option<String>,
    pub(super) request_interval: Option<u32>,
    pub(super) failure_threshold: Option<u32>,
    #[serde(default)]
    pub(super) inverted: bool,
    #[serde(default)]
    pub(super) disabled: bool,
    pub(super) health_threshold: Option<u32>,
    #[serde(default)]
    pub(super) child_health_checks: Vec<String>,
}

/// `list-cidr-blocks`
#[derive(Debug, Deserialize)]
pub(super) struct CidrBlocks {
    #[serde(rename = "CidrBlocks")]
    pub(super) blocks: Vec<CidrBlock>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CidrBlock {
    pub(super) cidr_block: String,
    pub(super) location_name: String,
}

/// Names and strings are escaped with three *octal* digits here (`\052` is `*`), in master files with decimal ones.
pub(super) fn decimal_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        out.push_str(before);
        let octal = escaped.get(..3).filter(|digits| digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)));
        let octet = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = match octet {
            Some(octet) => {
                // `*` alone is a wildcard, and no escape is one.
                if octet == b'*' {
                    out.push('*')
                } else {
                    out.push_str(&format!("\\{octet:03}"))
                }
                &escaped[3..]
            }
            None => {
                out.push('\\');
                let next = escaped.chars().next().map_or(0, char::len_utf8);
                out.push_str(&escaped[..next]);
                &escaped[next..]
            }
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_escapes_become_decimal_ones() {
        assert_eq!(decimal_escapes("\\052.example.com."), "*.example.com.");
        assert_eq!(decimal_escapes("a\\040b\\\\c\\\"d\\377"), "a\\032b\\\\c\\\"d\\255");
        assert_eq!(decimal_escapes("end\\"), "end\\");
    }
}
