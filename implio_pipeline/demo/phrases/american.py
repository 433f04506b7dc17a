"""American English, as on a marketplace of the United States."""

from implio_pipeline.demo.grammar import Phrasebook, Trade, lines, pitch

AMERICAN = Phrasebook(
    language="en",
    colours=("black", "white", "silver", "dark gray", "navy blue", "red", "forest green", "tan"),
    pitches={
        Trade.CARS: pitch("""
            Ford F-150 XLT | Toyota Camry SE | Honda CR-V EX | Chevrolet Malibu LT | Subaru Outback | Jeep Wrangler
            | Honda Civic LX | Toyota RAV4

            {year} {thing}, {distance}, clean title
            {thing} {year} - {distance} - {city}
            {year} {thing} in {colour}, runs great

            Selling my {year} {thing} with {distance} on it, only because we need something bigger.
            Up for sale is a well kept {thing} from {year}, {colour}, {distance}, clean title in hand.

            Oil changed every 5,000 miles, all receipts in the glove box.
            New brakes and four new tires last fall, alignment done at the same time.
            No accidents, never smoked in, always parked in a garage.
            There is a small ding on the rear passenger door, see the last picture.
            Heat and AC work as they should, Bluetooth and backup camera too.
            Passed inspection {months} months ago and needs nothing.
        """),
        Trade.PHONES: pitch("""
            iPhone 14 128 GB | iPhone 13 Pro 256 GB | Samsung Galaxy S23 | Google Pixel 8 | iPhone 15 | Galaxy A54

            {thing}, {colour}, unlocked
            {thing} - battery {level} % - like new
            Unlocked {thing} with box and charger

            Selling my {thing} in {colour}, bought new {months} months ago.
            Upgraded last week, so this {thing} needs a new home.

            Fully unlocked, works with every major carrier, IMEI is clean.
            Battery health shows {level} percent and easily lasts a full day.
            Always used with a case and a glass screen protector, no cracks.
            Comes with the original box, a cable and two cases.
            One hairline scratch next to the camera that you only see in direct light.
            It has been reset and signed out of all accounts, ready to set up.
        """),
        Trade.FURNITURE: pitch("""
            sectional sofa | leather recliner | farmhouse dining table | queen bed frame | mid-century dresser
            | bookcase

            {thing}, {colour}, great condition
            Moving sale: {thing} in {city}
            {colour} {thing}, smoke free home

            We are moving across the country and this {thing} does not fit in the truck.
            For sale: our {thing}, {months} months old, from a smoke and pet free home.

            The color is {colour}; it looks even better in person than in the pictures.
            Very sturdy, no wobble, no stains, no tears.
            It comes apart in ten minutes and fits in a pickup or a minivan.
            Paid more than twice the price when it was new.
            There is some light wear on one of the legs, nothing you notice in daily use.
            I can help load it, but bring a second person, it is heavy.
        """),
        Trade.FLATS: pitch("""
            apartment | loft | garden apartment | townhouse | condo | duplex

            {rooms} bedroom {thing} in {city}, available now
            Bright {thing}, {area} sq ft, {rooms} bed
            {city}: {thing} with {rooms} bedrooms and parking

            A bright {rooms} bedroom {thing} in a quiet street of {city}, available on the first of the month.
            For rent by owner: {thing} with {rooms} bedrooms, five minutes from downtown {city}.

            In-unit washer and dryer, dishwasher, and a gas stove.
            Water and trash are included, electricity and internet are on the tenant.
            One off-street parking spot comes with it, a second one can be arranged.
            Twelve month lease, one month deposit, first month due at signing.
            Cats are fine, dogs under thirty pounds after we have met them.
            New floors and fresh paint in {colour} since last summer.
        """),
        Trade.BIKES: pitch("""
            Trek Marlin 7 | Specialized Allez | Cannondale Quick 4 | Giant Escape 3 | Schwinn cruiser | Rad e-bike

            {thing}, size M, {colour}
            {thing} - tuned up and ready to ride
            {colour} {thing}, ridden less than {distance}

            My {thing} has been a faithful commuter, but I work from home now.
            Selling a {colour} {thing}, bought {months} months ago and ridden mostly on weekends.

            New chain and brake pads, tuned up by the shop this spring.
            Fits riders from five foot six to six foot, the seat post is easy to adjust.
            Tires have plenty of tread left and hold air for weeks.
            Lights, lock and a rear rack are included.
            Some scuffs on the frame from bike racks, nothing structural.
            I still have the receipt and the serial number is registered to me.
        """),
        Trade.JOBS: pitch("""
            Line cook | Warehouse associate | Dental assistant | Electrician apprentice | Barista | Delivery driver

            {thing} wanted in {city}
            Now hiring: {thing}, full time
            {thing} - {city} - start this month

            Our small team in {city} is looking for a {thing} to start as soon as possible.
            We are hiring a {thing} for our {city} location, full time or part time.

            Pay is weekly by direct deposit, overtime is paid at time and a half.
            Two years of experience are nice to have, but we train the right person.
            Health insurance after ninety days and two weeks of paid vacation.
            Shifts start at {hour} and the schedule is posted two weeks ahead.
            You should be able to lift forty pounds and have a way to get to work.
            Friendly crew, low turnover, and the shift meal is on us.
        """),
        Trade.PETS: pitch("""
            Labrador puppies | tabby kittens | French bulldog puppies | Holland Lop rabbits | parakeets | beagle puppies

            {thing} looking for a good home
            {thing} in {city}, vet checked
            Family raised {thing}

            Our {thing} are ready to meet their new families in {city}.
            Adorable {thing}, raised in our living room with kids and a very patient old cat.

            They have had their first shots and have been dewormed.
            You can see the mother when you visit, she is calm and friendly.
            A starter bag of food and the vet papers go home with you.
            There is a short adoption talk first; we want to know where they go.
            Eating well, playful and used to the sounds of a busy house.
            The fee covers the vet, we do not breed for profit.
        """),
        Trade.TOOLS: pitch("""
            DeWalt drill set | Makita circular saw | table saw | 60 gallon air compressor | Honda lawn mower
            | Craftsman tool chest

            {thing}, works like new
            {thing} - garage clean out
            Used {thing} in {city}

            Cleaning out the garage: this {thing} has hardly been used in {months} months.
            Selling a {thing} that helped build our deck and has been on the shelf since.

            Comes with the case, two batteries and the charger where it applies.
            You are welcome to plug it in and try it before you buy.
            Blade and filter were replaced before I put it away.
            Some paint on the housing, everything works as it should.
            The manual is included and so are a few spare parts.
            I would trade it for a decent pressure washer, too.
        """),
    },
    terms=lines("""
        Cash or Venmo at pickup, no checks please.
        Price is firm unless you take more than one thing.
        First come, first served, I do not hold without a deposit.
        If this ad is up, it is still available.
        No scammers, no shipping, local pickup in {city} only.
        Serious buyers only, please tell me when you can come by.
    """),
    closings=lines("""
        Text {first} at {phone}, after {hour} works best.
        Message me here, I answer within a day. {first}
        Call or text {phone}, no calls from dealers please.
        Thanks for looking!
        Ask for {first}. Evenings after {hour} or on weekends.
    """),
    amendments=lines("""
        PRICE DROP: needs to be gone by the weekend.
        UPDATE: the first buyer did not show up, so it is available again.
        STILL AVAILABLE: new pictures added today.
        REDUCED: I would like to make room in the garage.
    """),
)
