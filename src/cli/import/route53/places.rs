//! Where things are: the continent of each country, and the coordinates of AWS regions.

/// ISO 3166-1 countries by the continent that MaxMind's databases have them on, which Route 53 uses too.
const CONTINENTS: &[(&str, &str)] = &[
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG \
         RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM \
         PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK \
         MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT \
         US VC VG VI",
    ),
    ("OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS"),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// About where the regions are, in degrees.
const REGIONS: &[(&str, f64, f64)] = &[
    ("af-south-1", -33.93, 18.42),
    ("ap-east-1", 22.29, 114.27),
    ("ap-east-2", 25.05, 121.56),
    ("ap-northeast-1", 35.62, 139.75),
    ("ap-northeast-2", 37.56, 126.98),
    ("ap-northeast-3", 34.69, 135.49),
    ("ap-south-1", 19.08, 72.88),
    ("ap-south-2", 17.41, 78.43),
    ("ap-southeast-1", 1.37, 103.80),
    ("ap-southeast-2", -33.86, 151.20),
    ("ap-southeast-3", -6.20, 106.82),
    ("ap-southeast-4", -37.81, 144.96),
    ("ap-southeast-5", 3.139, 101.69),
    ("ap-southeast-7", 13.75, 100.50),
    ("ca-central-1", 45.50, -73.60),
    ("ca-west-1", 51.05, -114.07),
    ("cn-north-1", 39.90, 116.40),
    ("cn-northwest-1", 37.50, 105.19),
    ("eu-central-1", 50.11, 8.68),
    ("eu-central-2", 47.38, 8.54),
    ("eu-north-1", 59.33, 18.07),
    ("eu-south-1", 45.46, 9.19),
    ("eu-south-2", 41.65, -0.88),
    ("eu-west-1", 53.35, -6.26),
    ("eu-west-2", 51.51, -0.13),
    ("eu-west-3", 48.86, 2.35),
    ("il-central-1", 32.09, 34.78),
    ("me-central-1", 24.45, 54.38),
    ("me-south-1", 26.07, 50.56),
    ("mx-central-1", 20.59, -100.39),
    ("sa-east-1", -23.55, -46.63),
    ("us-east-1", 38.95, -77.45),
    ("us-east-2", 39.96, -83.00),
    ("us-gov-east-1", 39.96, -83.00),
    ("us-gov-west-1", 45.84, -119.70),
    ("us-west-1", 37.77, -122.42),
    ("us-west-2", 45.84, -119.70),
];

/// `EU` of `FR`.
pub(super) fn continent(country: &str) -> Option<&'static str> {
    let holds = |countries: &str| countries.split(' ').any(|known| known.eq_ignore_ascii_case(country));
    CONTINENTS.iter().find(|(_, countries)| holds(countries)).map(|(continent, _)| *continent)
}

/// Latitude and longitude of an AWS region.
pub(super) fn region(name: &str) -> Option<(f64, f64)> {
    REGIONS.iter().find(|(known, ..)| *known == name).map(|&(_, latitude, longitude)| (latitude, longitude))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_country_is_on_one_continent() {
        let mut all: Vec<&str> = CONTINENTS.iter().flat_map(|(_, countries)| countries.split(' ')).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(count > 245 && all.iter().all(|code| code.len() == 2), "{count}");
        assert_eq!((continent("FR"), continent("us"), continent("XX")), (Some("EU"), Some("NA"), None));
        assert_eq!(region("eu-west-1"), Some((53.35, -6.26)));
    }
}
