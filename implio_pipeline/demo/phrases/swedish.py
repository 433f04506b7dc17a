"""Swedish, as on a marketplace of Sweden."""

from implio_pipeline.demo.grammar import Phrasebook, Trade, lines, pitch

SWEDISH = Phrasebook(
    language="sv",
    colours=("svart", "vit", "silver", "mörkgrå", "marinblå", "röd", "skogsgrön", "beige"),
    pitches={
        Trade.CARS: pitch("""
            Volvo V60 D3 | Volkswagen Passat | Saab 9-3 | Toyota Auris Hybrid | Kia Ceed | Škoda Octavia | Volvo XC60

            {thing}, {year}, {distance}, nybesiktigad
            {thing} -{year} i {city}
            Välskött {thing}, {distance}

            Säljer vår {thing} från {year} som gått {distance}, då familjen har vuxit ur den.
            Välskött {thing}, årsmodell {year}, färg {colour}, säljs på grund av tjänstebil.

            Besiktigad för {months} månader sedan utan anmärkning.
            Servad enligt bok, kamremmen är bytt och kvitton finns.
            Vinterdäck på fälg ingår, bra mönster kvar på båda uppsättningarna.
            Rökfri bil som alltid har stått i garage.
            Liten repa på bakre stötfångaren, syns på sista bilden.
            Motorvärmare, dragkrok, farthållare och stolsvärme.
        """),
        Trade.PHONES: pitch("""
            iPhone 13 128 GB | iPhone 14 Pro 256 GB | Samsung Galaxy S22 | Google Pixel 7 | Sony Xperia 5 | OnePlus 11

            {thing}, {colour}, olåst
            {thing} med kartong, batteri {level} %
            Fin {thing} säljes i {city}

            Säljer min {thing}, färg {colour}, köpt ny för {months} månader sedan.
            På grund av uppgradering säljs nu min {thing} i mycket fint skick.

            Telefonen är olåst och fungerar med alla operatörer.
            Batterihälsan är {level} procent och räcker gott och väl en dag.
            Har alltid haft skal och skärmskydd, inga sprickor.
            Originalkartong, kabel och kvitto medföljer.
            Ett litet märke på ramen, syns på tredje bilden.
            Återställd och utloggad från alla konton, klar att använda.
        """),
        Trade.FURNITURE: pitch("""
            tresitssoffa | matbord i ek | dubbelsäng 160 cm | bokhylla | byrå med sex lådor | hörnsoffa

            {thing}, {colour}, fint skick
            Flyttrea: {thing} i {city}
            {thing} säljes omgående

            Vi ska flytta och säljer därför en möbel som varit med i {months} månader: {thing}.
            Nu säljer vi följande från ett rök- och djurfritt hem: {thing}, färg {colour}.

            Inga fläckar eller revor, stadig och bekväm.
            Går att ta isär med en insexnyckel och får plats i en kombi.
            Nypriset var mer än det dubbla, kvitto finns kvar.
            Lite slitage på ett hörn, inget man tänker på i vardagen.
            Finns på bottenvåningen och jag hjälper gärna till att bära.
            Klädseln är avtagbar och kan tvättas i 30 grader.
        """),
        Trade.FLATS: pitch("""
            lägenhet | etagelägenhet | lägenhet med balkong | möblerad lägenhet | radhus

            {rooms} rum och kök i {city}, {area} kvm
            {thing} uthyres, {area} kvm, {city}
            Ljus {thing} nära centrum

            Uthyres i ett lugnt område i {city}: {thing} med {rooms} rum och kök, {area} kvadratmeter.
            Ledig från den första nästa månad: {thing} på {area} kvm, fem minuter från bussen.

            Nyrenoverat kök med diskmaskin och helkaklat badrum.
            Värme och vatten ingår i hyran, el och bredband betalas av hyresgästen.
            Tvättstuga i källaren och ett förråd hör till.
            Deposition motsvarande en månadshyra och referenser önskas.
            Kontraktet gäller i {months} månader med möjlighet till förlängning.
            Visning vardagar efter klockan {hour} enligt överenskommelse.
        """),
        Trade.BIKES: pitch("""
            Crescent Elina | Monark Karin | Bianchi C-Sport | Scott Scale 970 | Skeppshult Natur | Trek FX 2

            {thing}, ram 53 cm, {colour}
            {thing}, nyservad
            Sparsamt använd {thing} i {city}

            Säljer min cykel eftersom jag har gått över till elcykel: {thing}, färg {colour}.
            Fin {thing}, köpt för {months} månader sedan och mest använd på helgerna.

            Ny kedja och nya bromsbelägg, servad i våras.
            Passar den som är mellan 165 och 182 centimeter lång.
            Har gått ungefär {distance}, nästan bara på asfalt.
            Lås, belysning och pakethållare ingår.
            Några lackskador på ramen efter cykelställ, inget som påverkar.
            Kvitto med ramnummer finns och följer med.
        """),
        Trade.JOBS: pitch("""
            Servitris eller servitör | Lagermedarbetare | Undersköterska | Elektriker | Budbilsförare | Barista

            {thing} sökes till {city}
            Jobb: {thing}, deltid
            Vi söker: {thing} i {city}

            Vårt lilla team i {city} behöver förstärkning: {thing}, start så snart som möjligt.
            Vi söker personal till {city}: {thing}, hel- eller deltid under {months} månader till att börja med.

            Passen börjar oftast klockan {hour} och schemat kommer två veckor i förväg.
            Erfarenhet är meriterande, men vi lär gärna upp rätt person.
            Kollektivavtal, friskvårdsbidrag och fri lunch.
            B-körkort är ett plus men inget krav.
            Hos oss är stämningen god och vägen till beslut kort.
            Skicka några rader om dig själv, urval sker löpande.
        """),
        Trade.PETS: pitch("""
            labradorvalpar | kattungar | dvärgkaniner | undulater | valpar av blandras | norska skogkattungar

            {thing} söker nya hem
            {thing} i {city}, vaccinerade
            Hemuppfödda {thing}

            Våra {thing} är snart redo att flytta till sina nya familjer.
            Uppväxta i vårt hem i {city}: {thing} som söker ett tryggt hem för livet.

            De är chippade, avmaskade och besiktigade av veterinär.
            Mamman finns på plats och är lugn och trygg.
            De är vana vid barn och vardagens alla ljud.
            Foder för de första dagarna och en filt följer med.
            Berätta gärna lite om er familj när ni hör av er.
            Lekfulla, nyfikna och nästan rumsrena.
        """),
        Trade.TOOLS: pitch("""
            Bosch slagborr | Makita skruvdragare | bordssåg | Husqvarna gräsklippare
            | Stihl häcksax | kompressor 50 liter

            {thing}, fungerar perfekt
            {thing}, knappt använd, {city}
            Rensar garaget: {thing}

            Rensar i garaget och säljer nu bra verktyg: {thing}.
            Till salu: {thing}, köpt till en renovering och inte använd på {months} månader.

            Väska, manual och lite tillbehör ingår.
            Går bra att prova på plats innan köp.
            Normalt slitage på höljet, allt fungerar som det ska.
            Alltid förvarad torrt och rengjord efter användning.
            Sladden är hel och alla skydd sitter på plats.
            Kan tänka mig byte mot en högtryckstvätt.
        """),
    },
    terms=lines("""
        Betalning med Swish eller kontant vid hämtning.
        Hämtas i {city}, kan skickas om köparen betalar frakten.
        Först till kvarn, ingen reservation utan handpenning.
        Ligger annonsen uppe så finns den kvar.
        Fast pris, oseriösa bud besvaras inte.
        Säljs i befintligt skick mellan privatpersoner.
    """),
    closings=lines("""
        Ring eller messa {first} på {phone}, helst efter {hour}.
        Skicka ett meddelande här så svarar jag. Hälsningar, {first}
        Nås på {phone}, inga säljsamtal tack.
        Tack för att du tittade!
        Mvh {first}
    """),
    amendments=lines("""
        Sänkt pris: måste bort före helgen.
        Uppdatering: köparen hoppade av, så den finns till salu igen.
        Finns kvar: nya bilder i dag.
        Prissänkt: vi behöver plats i garaget.
    """),
)
