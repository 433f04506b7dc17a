"""French, as on a marketplace of France and Belgium."""

from implio_pipeline.demo.grammar import Phrasebook, Trade, lines, pitch

FRENCH = Phrasebook(
    language="fr",
    colours=("noir", "blanc", "gris argent", "gris anthracite", "bleu marine", "rouge", "vert sapin", "beige"),
    pitches={
        Trade.CARS: pitch("""
            Renault Clio IV | Peugeot 308 SW | Citroën C3 | Dacia Duster | Volkswagen Polo | Toyota Yaris
            | Renault Mégane

            {thing}, {year}, {distance}, entretien suivi
            {thing} {year}, CT OK, {city}
            {thing} {colour}, première main

            Je vends ma {thing} de {year}, {distance} au compteur, suite à l'achat d'un véhicule plus grand.
            À vendre : {thing}, mise en circulation en {year}, couleur {colour}, carnet d'entretien complet.

            Contrôle technique de moins de six mois, sans contre-visite.
            Distribution faite, factures à l'appui, vidange il y a {months} mois.
            Quatre pneus en bon état, dont deux neufs à l'avant.
            Petite rayure sur le pare-chocs arrière, visible sur la dernière photo.
            Véhicule non fumeur, toujours garé dans un garage, jamais accidenté.
            Climatisation, régulateur de vitesse et radar de recul fonctionnent parfaitement.
        """),
        Trade.PHONES: pitch("""
            iPhone 13 128 Go | iPhone 14 Pro 256 Go | Samsung Galaxy S22 | Google Pixel 7 | Xiaomi Redmi Note 12
            | Fairphone 4

            {thing} {colour}, débloqué tout opérateur
            {thing}, batterie {level} %, avec boîte
            {thing} en très bon état

            Vends {thing}, coloris {colour}, acheté neuf il y a {months} mois.
            Suite à un changement d'appareil, je me sépare de mon {thing}.

            Débloqué tout opérateur, aucun abonnement en cours.
            La batterie affiche {level} % et tient largement la journée.
            Toujours utilisé avec une coque et un verre trempé, écran sans rayure.
            Vendu avec la boîte d'origine, le câble et la facture.
            Une micro-rayure sur la tranche, visible sur la troisième photo.
            Appareil réinitialisé et déconnecté de tous les comptes.
        """),
        Trade.FURNITURE: pitch("""
            canapé d'angle | table en chêne massif | lit 160 x 200 avec sommier | armoire trois portes | buffet
            | bibliothèque

            {thing}, {colour}, très bon état
            Cause déménagement : {thing} à {city}
            {thing} à saisir

            Cause déménagement, nous vendons notre {thing}, qui a environ {months} mois.
            À vendre : {thing}, coloris {colour}, provenant d'un intérieur non fumeur et sans animaux.

            Aucune tache, aucune déchirure, l'ensemble est très solide.
            Se démonte facilement et rentre dans un break.
            Acheté plus du double en magasin, la facture est disponible.
            Légères traces d'usure sur un coin, rien de gênant au quotidien.
            Au rez-de-chaussée, je peux aider à porter jusqu'au véhicule.
            Les housses s'enlèvent et passent en machine à 30 degrés.
        """),
        Trade.FLATS: pitch("""
            appartement | duplex | appartement avec balcon | maison de ville | appartement meublé

            {thing} {rooms} pièces à {city}, {area} m²
            À louer : {thing}, {area} m², {city}
            {city} centre, {thing} de {rooms} pièces

            À louer à {city} : {thing} de {rooms} pièces, {area} m², lumineux et calme.
            Dans une rue tranquille de {city}, {thing} de {area} m², libre au premier du mois.

            Cuisine équipée, double vitrage et chauffage individuel.
            Les charges comprennent l'eau froide et l'entretien des parties communes.
            Un mois de dépôt de garantie, garant demandé.
            Cave et local à vélos dans l'immeuble, stationnement facile.
            À cinq minutes à pied des commerces et des transports.
            Visites possibles en semaine à partir de {hour} h, sur rendez-vous.
        """),
        Trade.BIKES: pitch("""
            Vélo de ville Gitane | VTT Rockrider 540 | Vélo de route Lapierre | Vélo pliant Brompton | VTC Riverside 500

            {thing}, taille M, {colour}
            {thing}, révisé, prêt à rouler
            {thing} peu servi, {city}

            Je vends mon vélo car je suis passé à l'électrique : {thing}, coloris {colour}.
            À vendre : {thing}, acheté il y a {months} mois et utilisé surtout le week-end.

            Chaîne et patins de frein neufs, révision faite au printemps.
            Convient à une personne de 1,65 m à 1,82 m.
            Environ {distance} parcourus, presque uniquement sur route sèche.
            Antivol, éclairage et porte-bagages fournis.
            Quelques éclats de peinture sur le cadre, sans conséquence.
            Facture d'achat et marquage antivol disponibles.
        """),
        Trade.JOBS: pitch("""
            Serveur ou serveuse | Préparateur de commandes H/F | Aide à domicile H/F | Électricien H/F
            | Chauffeur-livreur H/F

            {thing} à {city}
            Recrutons : {thing}, temps partiel
            Offre d'emploi : {thing}, {city}

            Notre petite équipe de {city} recherche du renfort : {thing}, poste à pourvoir rapidement.
            Nous recrutons à {city} : {thing}, en CDD de {months} mois avec possibilité de CDI.

            Prise de poste à {hour} h, planning communiqué deux semaines à l'avance.
            Une première expérience est appréciée, mais nous formons volontiers.
            Salaire selon profil, mutuelle et prime de fin d'année.
            Permis B souhaité, poste accessible en transports en commun.
            Ambiance conviviale et repas pris en charge pendant le service.
            Merci de joindre un CV et quelques lignes de présentation.
        """),
        Trade.PETS: pitch("""
            chiots Labrador | chatons européens | lapins nains | perruches ondulées | chiots Épagneul
            | chatons Maine Coon

            {thing} cherchent une famille
            {thing} à réserver, {city}
            {thing} élevés en famille

            Nos {thing} seront bientôt prêts à rejoindre leur nouvelle famille.
            Élevés à la maison à {city}, nos {thing} cherchent un foyer attentionné.

            Ils sont identifiés, vermifugés et ont reçu leur premier vaccin.
            La mère est visible sur place, elle est douce et sociable.
            Ils sont habitués aux enfants et aux bruits de la maison.
            Ils partent avec un carnet de santé et un sac de nourriture.
            Un échange préalable est demandé avant toute réservation.
            Joueurs, curieux et presque propres.
        """),
        Trade.TOOLS: pitch("""
            Perceuse à percussion Bosch | Scie circulaire Makita | Tondeuse thermique | Taille-haie Stihl
            | Compresseur 50 litres

            {thing}, parfait état de marche
            {thing}, peu servi, {city}
            Vide-atelier : {thing}

            Je vide l'atelier et je vends du bon matériel : {thing}.
            À vendre : {thing}, achat pour un seul chantier, plus servi depuis {months} mois.

            Livré avec sa mallette, la notice et quelques accessoires.
            Essai possible sur place avant l'achat.
            Quelques traces de peinture sur le carter, la mécanique est impeccable.
            Toujours rangé au sec et nettoyé après usage.
            Le câble est en bon état et les protections sont en place.
            Échange possible contre un nettoyeur haute pression.
        """),
    },
    terms=lines("""
        Paiement en espèces, remise en main propre à {city}.
        Envoi possible aux frais de l'acheteur.
        Prix légèrement négociable, offres farfelues s'abstenir.
        Si l'annonce est en ligne, c'est toujours disponible.
        Vente entre particuliers, ni reprise ni échange.
        Premier arrivé, premier servi, pas de réservation sans acompte.
    """),
    closings=lines("""
        Me joindre au {phone}, après {hour} h de préférence. {first}
        Contact par messagerie, je réponds vite. Cordialement, {first}
        Tél. {phone}, pas de démarchage, merci.
        Merci de votre visite !
        Bonne journée, {first}
    """),
    amendments=lines("""
        Prix en baisse : doit partir avant la fin du mois.
        Mise à jour : l'acheteur s'est désisté, de nouveau disponible.
        Toujours disponible : nouvelles photos ajoutées aujourd'hui.
        Baisse de prix : je manque de place.
    """),
)
