@       SOA ns1 hostmaster ( 2026010101 7200 900 1209600 900 )
        NS  ns1
        NS  ns2.example.net.
ns1     A   192.0.2.53
mail    A   192.0.2.25
@       MX  10 mail
www     300/30 DYNA multifo!www
db      60  DYNA simplefo!db
canary  60/60 DYNA weighted!canary
sites   60  DYNA metafo!sites
far     60  DYNA metafo!sites/far
intra   60  DYNA geoip!intra
