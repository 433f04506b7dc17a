"""English, as on a marketplace of Ireland."""

from implio_pipeline.demo.grammar import Phrasebook, Trade, lines, pitch

ENGLISH = Phrasebook(
    language="en",
    colours=("black", "white", "silver", "dark grey", "navy", "red", "bottle green", "cream"),
    pitches={
        Trade.CARS: pitch("""
            Volkswagen Golf 1.6 TDI | Toyota Yaris | Ford Focus Zetec | Skoda Octavia | Hyundai Tucson | Nissan Qashqai
            | Opel Corsa

            {year} {thing}, {distance}, full service history
            {thing} {year} - NCT - {city}
            Tidy {thing}, {year}, one owner

            Here I have my {year} {thing} for sale, {distance} on the clock and driving perfectly.
            Selling our family {thing} from {year}, {colour}, as we are getting a company car.

            NCT for another {months} months and taxed until the end of the quarter.
            Timing belt and water pump done at the last service, stamped book present.
            Four good tyres, two of them new this year, and a full size spare.
            A few small scratches on the front bumper, as you would expect at its age.
            Two keys, electric windows, cruise control and heated seats.
            Never crashed, a history check is welcome, the logbook is in my name.
        """),
        Trade.PHONES: pitch("""
            iPhone 13 128 GB | iPhone 14 Pro 256 GB | Samsung Galaxy S22 | Google Pixel 7 | OnePlus 11 | Galaxy A53

            {thing}, {colour}, unlocked to all networks
            {thing} - battery {level} % - mint
            Boxed {thing}, barely used

            My {thing} in {colour} is for sale because I was given a new one at work.
            Selling a {thing}, {months} months old, always kept in a case.

            Unlocked to every network and free of any contract.
            Battery health is at {level} percent, it gets through the day with ease.
            Screen is perfect, a glass protector has been on it since the first day.
            Original box, cable and the receipt are included.
            There is one tiny mark on the lower edge, shown in the third photo.
            Wiped and signed out, so it is ready for its next owner.
        """),
        Trade.FURNITURE: pitch("""
            three seater sofa | oak dining table | double bed with mattress | corner sofa | chest of drawers
            | pine wardrobe

            {thing} in {colour}, lovely condition
            {thing}, must go this week - {city}
            Solid {thing} for sale

            We are moving house and sadly this {thing} will not fit through the new door.
            For sale is our {thing}, about {months} months old, from a home without smokers or pets.

            It is {colour}, very comfortable and has no stains or tears.
            It can be taken apart with one Allen key and fits in an estate car.
            The covers come off and go in the washing machine at 30 degrees.
            Light wear on one corner, otherwise you would think it is new.
            It cost more than twice as much in the shop and is no longer made.
            Collection from the ground floor, I am happy to help carry it out.
        """),
        Trade.FLATS: pitch("""
            apartment | garden flat | terraced house | top floor flat | studio with a separate bedroom | duplex

            {rooms} bed {thing} in {city}, {area} sq m
            Bright {thing} to let, {city}
            {thing} with {rooms} bedrooms, available now

            A bright and well kept {thing} of {area} square metres in a quiet part of {city}.
            To let from the first of next month: {thing} with {rooms} bedrooms, close to the bus and shops.

            Gas heating, double glazing and a kitchen that was fitted two years ago.
            Bins and the management fee are included, electricity and broadband are not.
            One month's rent as a deposit and references from a previous landlord.
            There is a shared garden and a shed for bicycles.
            A lease of at least twelve months is preferred, sorry, no short lets.
            Viewings are on weekdays after {hour}, please bring a friend if you like.
        """),
        Trade.BIKES: pitch("""
            Giant Escape 2 | Trek FX 3 | Carrera hybrid | Raleigh touring bike | Cube Reaction | Dawes Galaxy

            {thing}, medium frame, {colour}
            {thing} - just serviced
            {colour} {thing}, hardly used

            My {thing} was bought for the bike to work scheme and then I started working from home.
            Selling a {colour} {thing} that has seen about {distance} of dry roads.

            Serviced in the spring with a new chain, cassette and brake blocks.
            Suits a rider between 168 and 182 centimetres.
            Mudguards, a rear carrier, a D-lock and lights come with it.
            Tyres are puncture resistant and nearly new.
            A few scuffs on the top tube from leaning against walls.
            The frame number is on the receipt, which you will get.
        """),
        Trade.JOBS: pitch("""
            Kitchen porter | Childminder | Care assistant | Apprentice plumber | Barista | Delivery driver

            {thing} wanted - {city}
            {thing}, part time, immediate start
            Vacancy: {thing} in {city}

            A family run business in {city} is looking for a {thing} to join the team.
            We need a {thing} for {months} months at first, with a good chance of staying on.

            Shifts usually start at {hour} and the roster is out two weeks ahead.
            Experience is welcome but not needed, we give full training.
            Wages are paid every second Friday, with holiday pay and staff meals.
            You should have good English and be on time, the rest can be learned.
            We are two minutes from the train station and there is free parking.
            Garda vetting is part of the process where the work asks for it.
        """),
        Trade.PETS: pitch("""
            Labrador pups | tabby kittens | Border Collie pups | Lionhead rabbits | budgies | Cocker Spaniel pups

            {thing} looking for loving homes
            {thing} in {city}, vaccinated
            Home reared {thing}

            Our {thing} will be ready to leave in a few weeks and are looking for good homes.
            Lovely {thing}, reared in our kitchen and well used to children.

            They are microchipped, wormed and have had their first vaccination.
            Both parents can be seen, they are family pets with a gentle nature.
            A bag of the food they are used to goes with them.
            Please tell us a little about yourself and your home when you write.
            They are nearly house trained and sleep through the night.
            The price is to cover the vet and a small deposit holds your favourite.
        """),
        Trade.TOOLS: pitch("""
            Bosch hammer drill | Makita jigsaw | Honda lawnmower | tile cutter | Stihl hedge trimmer | extension ladder

            {thing}, perfect working order
            {thing} - shed clear out - {city}
            Used {thing}, low hours

            I am clearing out the shed and this {thing} has not been touched in {months} months.
            For sale is a {thing}, bought for one job and put away clean afterwards.

            It comes in its case with the manual and a few spare parts.
            You can try it here before you pay, there is a socket by the door.
            The cable is sound and the guard is in place.
            Some paint splashes on the grip, none of which affects its work.
            It was serviced by the dealer in {city} last winter.
            I might swap it for a good pressure washer.
        """),
    },
    terms=lines("""
        Cash on collection, please, no cheques.
        No time wasters and no silly offers.
        I can post it at the buyer's cost, insured.
        If the ad is still up, it is still for sale.
        Collection only from {city}, any evening suits.
        First to see it will buy it, I do not hold without a deposit.
    """),
    closings=lines("""
        Call or text {first} on {phone}, any time after {hour}.
        Send me a message here and I will get back to you. {first}
        Phone {phone} please, I do not always see my messages.
        Thanks for looking!
        Ask for {first}, weekends are best.
    """),
    amendments=lines("""
        Reduced: it needs to go before we move.
        Update: the first buyer did not turn up, so it is for sale again.
        Still for sale: new photos added today.
        Price drop: last chance before it goes to my cousin.
    """),
)
