"""German, as on a marketplace of Germany and Austria."""

from implio_pipeline.demo.grammar import Phrasebook, Trade, lines, pitch

GERMAN = Phrasebook(
    language="de",
    colours=("Schwarz", "Weiß", "Silber", "Anthrazit", "Dunkelblau", "Rot", "Tannengrün", "Beige"),
    pitches={
        Trade.CARS: pitch("""
            VW Golf 1.4 TSI | Audi A4 Avant | BMW 318d Touring | Opel Astra | Škoda Octavia Combi | Mercedes A 180
            | Ford Fiesta

            {thing}, Bj. {year}, {distance}, scheckheftgepflegt
            {thing} {year} in {colour}, TÜV neu
            Gepflegter {thing}, {distance}, aus {city}

            Verkaufe meinen {thing} aus {year} mit {distance}, da wir ein größeres Auto brauchen.
            Zum Verkauf steht ein gepflegter {thing}, Baujahr {year}, Farbe {colour}, aus zweiter Hand.

            TÜV noch {months} Monate gültig, letzter Service bei der Vertragswerkstatt.
            Der Zahnriemen wurde gewechselt, die Rechnung liegt vor.
            Winterreifen auf Felgen gibt es dazu, Profil noch gut sechs Millimeter.
            Nichtraucherfahrzeug, unfallfrei, immer in der Garage gestanden.
            Kleiner Kratzer an der Stoßstange hinten, siehe letztes Bild.
            Klimaautomatik, Sitzheizung, Tempomat und Einparkhilfe funktionieren einwandfrei.
        """),
        Trade.PHONES: pitch("""
            iPhone 13 128 GB | iPhone 14 Pro 256 GB | Samsung Galaxy S22 | Google Pixel 7 | Fairphone 4 | Xiaomi 12

            {thing} in {colour}, ohne Simlock
            {thing}, Akku {level} %, OVP
            Sehr gut erhaltenes {thing}

            Ich verkaufe mein {thing} in {colour}, gekauft vor {months} Monaten.
            Wegen Vertragsverlängerung abzugeben: {thing}, ohne Simlock, in sehr gutem Zustand.

            Die Akkukapazität liegt bei {level} Prozent, das reicht locker für einen Tag.
            Von Anfang an mit Hülle und Panzerglas benutzt, Display ohne Kratzer.
            Originalverpackung, Ladekabel und Rechnung sind dabei.
            Ein kleiner Kratzer am Rahmen unten links, auf dem Foto zu erkennen.
            Das Gerät ist zurückgesetzt und von allen Konten abgemeldet.
            Restgarantie ist noch vorhanden, alle Funktionen sind geprüft.
        """),
        Trade.FURNITURE: pitch("""
            Ecksofa | Esstisch aus Eiche | Boxspringbett 160 x 200 | Kleiderschrank | Sideboard | Schlafsofa

            {thing}, {colour}, wie neu
            {thing} wegen Umzug abzugeben in {city}
            Schönes Möbelstück: {thing}

            Wegen Umzug geben wir ein gut erhaltenes Stück ab: {thing}, etwa {months} Monate alt.
            Zu verkaufen aus tierfreiem Nichtraucherhaushalt: {thing}, Farbe {colour}.

            Keine Flecken, keine Risse, alles stabil und ohne Wackeln.
            Lässt sich mit einem Inbusschlüssel zerlegen und passt in einen Kombi.
            Der Neupreis war mehr als doppelt so hoch, die Rechnung ist noch da.
            An einer Ecke leichte Gebrauchsspuren, sonst wie im Möbelhaus.
            Die Wohnung liegt im Erdgeschoss, beim Tragen helfe ich gern.
            Die Bezüge sind abnehmbar und bei 30 Grad waschbar.
        """),
        Trade.FLATS: pitch("""
            Altbauwohnung | Dachgeschosswohnung | Erdgeschosswohnung mit Garten | Maisonette | Neubauwohnung

            {rooms}-Zimmer-Wohnung in {city}, {area} m²
            {thing} in ruhiger Lage, {area} m²
            Helle {thing}, {city}, ab sofort

            Wir vermieten eine helle {thing} mit {rooms} Zimmern und {area} Quadratmetern in {city}.
            Nachmieter gesucht: {thing}, {area} m², {rooms} Zimmer, fünf Minuten zur Haltestelle.

            Einbauküche und Waschmaschinenanschluss sind vorhanden.
            Die Nebenkosten betragen etwa ein Fünftel der Kaltmiete, die Kaution drei Monatsmieten.
            Das Bad hat Fenster und Wanne, der Boden ist Parkett.
            Ein Kellerabteil und ein Stellplatz für Fahrräder gehören dazu.
            Bitte mit kurzer Vorstellung und Schufa-Auskunft bewerben.
            Besichtigung unter der Woche ab {hour} Uhr nach Absprache.
        """),
        Trade.BIKES: pitch("""
            Cube Touring | Kalkhoff Endeavour | Canyon Endurace | Gazelle Chamonix | Bergamont Trekkingrad
            | Diamant Ubari

            {thing}, Rahmen 54, {colour}
            {thing}, frisch gewartet
            Wenig gefahren: {thing} aus {city}

            Verkaufe mein Fahrrad der Marke {thing}, {colour}, etwa {months} Monate alt.
            Da ich auf ein E-Bike umsteige, gebe ich mein {thing} ab.

            Kette und Bremsbeläge sind neu, die Inspektion war im Frühjahr.
            Passend für Körpergrößen von 168 bis 185 Zentimeter.
            Gelaufen sind etwa {distance}, fast nur auf Asphalt.
            Schloss, Licht und Gepäckträger gibt es dazu.
            Ein paar Lackkratzer am Oberrohr vom Anlehnen, technisch einwandfrei.
            Kaufbeleg mit Rahmennummer ist vorhanden und wird mitgegeben.
        """),
        Trade.JOBS: pitch("""
            Servicekraft (m/w/d) | Lagermitarbeiter (m/w/d) | Pflegehilfskraft (m/w/d) | Elektriker (m/w/d)
            | Fahrer (m/w/d) | Bürokauffrau/-mann (m/w/d)

            {thing} in {city} gesucht
            {thing} in Teilzeit, ab sofort
            Stellenangebot: {thing}

            Unser kleines Team in {city} sucht Verstärkung: {thing}, Einstieg ab sofort möglich.
            Zum nächsten Ersten suchen wir in {city}: {thing}, Voll- oder Teilzeit.

            Der Dienst beginnt meist um {hour} Uhr, der Plan steht zwei Wochen im Voraus.
            Erfahrung ist schön, aber nicht Bedingung; wir arbeiten gründlich ein.
            Pünktliche Bezahlung über Tarif und 30 Tage Urlaub.
            Ein Führerschein der Klasse B ist von Vorteil.
            Die Stelle ist zunächst auf {months} Monate befristet, eine Übernahme ist geplant.
            Gutes Betriebsklima, kurze Wege und Getränke frei.
        """),
        Trade.PETS: pitch("""
            Labradorwelpen | Hauskatzen-Kitten | Zwergkaninchen | Wellensittiche | Maine-Coon-Kitten | Dackelwelpen

            {thing} suchen ein Zuhause
            {thing} aus {city}, geimpft und entwurmt
            {thing} aus Familienaufzucht

            Unsere {thing} suchen in Kürze ein liebevolles Zuhause auf Lebenszeit.
            Aus privater Aufzucht in {city} geben wir {thing} in gute Hände ab.

            Die Tiere sind geimpft, entwurmt und dem Tierarzt vorgestellt worden.
            Sie wachsen mitten in der Familie auf und sind an Kinder gewöhnt.
            Die Mutter kann bei einem Besuch gern angeschaut werden.
            Zum Auszug gibt es Futter für die ersten Tage und den Impfpass.
            Abgabe nur mit Schutzvertrag und nach einem Kennenlernen.
            Sehr verspielt, neugierig und schon fast stubenrein.
        """),
        Trade.TOOLS: pitch("""
            Bosch Bohrhammer | Makita Akkuschrauber | Stihl Heckenschere | Tischkreissäge | Rasenmäher | Kompressor 50 l

            {thing}, voll funktionsfähig
            {thing}, kaum benutzt, {city}
            Werkstattauflösung: {thing}

            Ich räume die Werkstatt auf und gebe ein gutes Gerät ab: {thing}.
            Angeboten wird: {thing}, für eine Renovierung gekauft und seit {months} Monaten nicht mehr benutzt.

            Koffer, Anleitung und etwas Zubehör sind dabei.
            Das Gerät kann vor Ort gern ausprobiert werden.
            Normale Gebrauchsspuren am Gehäuse, die Technik ist einwandfrei.
            Das Kabel ist unbeschädigt, die Kohlen wurden erneuert.
            Immer trocken gelagert und nach Gebrauch gereinigt.
            Ein Tausch gegen einen Hochdruckreiniger wäre auch denkbar.
        """),
    },
    terms=lines("""
        Privatverkauf, keine Garantie und keine Rücknahme.
        Nur Abholung in {city}, Barzahlung.
        Versand gegen Aufpreis möglich, bitte vorher fragen.
        Anfragen wie »Was ist letzter Preis?« beantworte ich nicht.
        Solange die Anzeige online ist, ist der Artikel noch zu haben.
        Preis ist Verhandlungsbasis, aber bitte realistisch bleiben.
    """),
    closings=lines("""
        Bei Interesse anrufen: {phone}, ab {hour} Uhr. Gruß, {first}
        Ich freue mich auf Nachrichten hier über die Plattform. {first}
        Telefonisch erreichbar unter {phone}.
        Vielen Dank fürs Anschauen!
        Viele Grüße, {first}
    """),
    amendments=lines("""
        Reduziert: muss bis zum Wochenende weg.
        Update: der Käufer ist nicht erschienen, daher wieder zu haben.
        Noch zu haben: heute neue Bilder eingestellt.
        Preis gesenkt: wegen Platzmangel jetzt günstiger.
    """),
)
