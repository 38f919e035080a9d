"""The invented names that all worlds draw from: people, places and things share them.

They recur over splits; what differs from split to split is the facts about them. The tiny LM reads
each name as one token. They are pronounceable, no English words, and differ after stemming.
"""

_TEXT = """
Babodran Babor Babrafe Balro Baltri Baluhind Balzond Bambras Bamend Bamham Bamtho Banbumar Banurn
Bapidro Bapurn Barbol Basim Batas Batosson Bawor Bayon Bebas Bedradun Bedre Befum Belen Belna
Bemtren Benbru Bepol Berhi Berva Beyol Bifarn Bigon Biher Bilol Biyan Bogun Bohon Bokur Bolhan
Bollor Boltaman Boper Borlal Bornos Bosamal Bosarta Boslend Braldund Bralwer Bramban Bramo Brasyon
Braszarn Brazend Brebar Brebres Bredre Brefur Brehes Brehosa Brenarol Bretril Brikar Brirdun Briven
Briyi Brofo Brogel Bronasbe Brora Broszend Brotem Brovos Brozodan Brubarir Brudri Brudur Brufos
Brupon Buhistan Bulor Butruta Buyor Cabrel Calgol Calyath Camabrul Camorn Canpen Carlal Cateth Cawor
Cobron Codrum Comniben Comrolu Contan Corbal Covetrin Cozar Cozolin Culben Cumgom Curvarn Cusyon
Cuzol Dadoca Dadram Dafol Dagond Daken Dakind Damte Dankal Danta Darbi Darmo Darsil Daswur Datanend
Datern Dathulro Datra Dazis Dehimem Dekon Delbin Delbrond Delend Demir Demsathi Demtru Demzus
Dendamin Depunnum Dererdo Derne Deryesem Desgan Desirn Dessal Didund Dilrath Dimmern Dinrol Dipom
Dirgoth Ditath Ditre Dodrul Dohenol Dohor Dokil Dolan Doltha Domge Domthend Domyend Dondro Donnand
Dorgan Dotrirn Dovirn Drabrand Dramun Draszan Dratrend Drefidor Drehoth Dremven Dremya Drerrin
Drespul Dreto Dreve Drewon Dribe Dridor Drilmu Drilsen Drinkirn Dritrarn Driwebor Drokuth Dromdas
Dromes Droro Drotra Droyom Druler Drumath Dulvore Dunmurn Durdith Dutrol Dutur Duzand Fabil Fabri
Fadothe Fadrir Falnan Famdro Famvol Fapor Fayas Fazigur Fedon Felha Felmor Felnem Fenka Fernen
Ferreth Fervind Feszel Fethen Fevafu Fewind Fidahath Fintem Finul Foban Fogobe Fogun Folbo Folro
Fondren Fospeth Fotre Fudren Fuhen Fulmor Fupend Fusidren Futhol Fuwomol Gabam Gadre Gahol Galtal
Garor Garotrem Gasdrond Gatil Gatrar Gatrarn Gelne Gemor Gengon Genonon Gepus Geragorn Gerlu Getho
Geveth Geyon Gihor Ginel Ginordin Giwol Gobrin Godronsu Gokarnal Gonas Gonuth Gonzen Gorar Gordorya
Gorro Gortun Gosodin Gudral Guldarn Guvun Hadrar Hadrilil Hagam Halsome Halvul Hamaland Hamazan
Hampor Hamtal Hamufem Hanbilde Hanen Hanind Hanmes Hanmol Hapin Harfil Harol Harron Hasbol Hashaba
Hasipal Hasluga Hasnal Hawin Hedraku Hehor Helbra Helgim Helgol Hembras Hemca Hemhilum Hemral Hemzal
Hendudon Herbol Herhammi Herito Hermar Hesde Hethir Hethorn Hetroth Hezor Hillino Hilnade Hitona
Hocas Hodanan Holbrir Holos Holsigo Holtrim Holun Homedus Homir Honthibo Horcor Horfoth Horond Horor
Horuca Hoscu Hosoco Hoson Hoveltre Hoyom Hozur Hozurn Hubinso Hugarirn Humun Hupusa Hurlern Hurpes
Huten Hutrer Huvan Huvoful Kados Kahan Kalnith Kanemo Kapern Karopu Karsirol Karuth Kasmemam Kawevi
Kazur Kefemtho Kelsor Kembro Kemre Kendon Kensedol Kerdarn Kesero Ketond Kinsorn Komho Komla Konben
Kopern Korara Koskam Kotis Kotroth Kugund Kulan Kunram Kusgor Kutal Labrahan Labror Lahas Lallovo
Lardran Larter Latar Lazomnon Lebal Lebos Lehor Leker Lekode Lelba Leldrer Lelgan Lemen Lemravar
Lerha Lerivan Lesbil Lestel Lestrern Letel Lethem Letho Levode Lewor Leyirn Liben Libol Lidurn
Linrath Lipul Lirsar Listhir Litabrar Lital Litedern Lolano Loldrun Lolun Lomar Lonul Lopellar
Lornun Lorom Lotrus Loweth Lozolfu Ludrend Lufind Lumtend Lunoth Luntho Lunyar Luslern Mabes Mafas
Magalind Magedru Magemer Malhund Mambras Mamorn Manfasa Manol Masbrel Masvomal Mazar Meborn Mefand
Melem Memdral Menfivir Mennom Menond Mesbir Mesrath Metrar Mezur Midrir Mikicar Milam Milnul Mimbrir
Mimmohel Mindorn Mipilgen Mirliten Mizarti Mober Mobraker Modebem Mohir Mollurn Molurse Momroth
Monehand Monro Moryund Mosbal Mosbern Mosum Mothis Movom Mowul Moyath Mulvar Mumuth Mupavem Murdran
Murern Musyer Muzas Nabomder Nacon Nadrern Naldur Nalra Namnezel Namrurn Nandres Nanfoth Nanmor
Narbar Nardan Narto Nastren Natil Nawol Nazon Nebomand Nedern Negarn Nehir Nelgan Nelthel Nemmen
Nemra Nemrol Nemtran Nemyand Nenthe Nerhar Nerthor Nesdral Nesfebir Nestum Netame Neven Nezen
Nibawal Nidrol Nikond Nirnar Nirtel Nirund Nisdra Nitha Nivil Nobim Nolnosa Nolvemvo Nompes Nonuth
Nopund Nospul Nosran Nothi Novund Nowarha Nubir Nubolpa Nubra Nurle Nuwirn Nuzar Pameltur Pamlum
Pamto Panlen Panpe Parfon Pembal Pemdror Perho Peyam Piber Pincosgu Pitrand Podern Pogubri Polthun
Polvand Pombrol Popul Porfer Poruva Postha Povehas Povir Pumel Punhand Pusham Pusolan Pusotas
Puzivam Radrilo Raduyam Rafon Rahas Ramayu Rameth Ramfe Ramika Ranve Rardus Rargem Rarrem Rasal
Rasruda Rastund Raszim Ratharn Redra Refes Regen Relrelsu Relzar Relzen Remullo Remvirn Reram Rergun
Rerlerin Reshadol Reslon Retugoth Rezon Rididos Ridrel Rilha Rilom Rilrul Rimzend Riror Risbe Rithen
Robre Rodalti Rohan Rolurn Romhund Romyond Ronand Ronsen Rorlon Rorohas Rorver Rosdond Rosgor Rosos
Roton Rotri Rotunlir Royand Rubor Ruguhom Rulke Rumampu Rumiton Runbelem Rurkuyer Rusde Rusfo Rusor
Rutriker Sabath Sadend Saladrar Salvi Sambren Sanma Sarbem Sasno Sasra Sastane Sebawe Seben Sebrom
Sebru Sedrern Segirul Sehen Selbur Seldron Selgom Selor Semes Semlo Sendreti Senonhum Serban Sersar
Sesthol Setin Seweth Seyothon Sibetir Sidalse Silbove Silurn Sirfor Siser Sobra Sobrol Sobrurn Solbu
Solri Solvon Sonpe Sornom Sotan Sovuhal Sumhur Sumthe Sunsul Supol Surze Sushotan Susser Sutral
Suyer Tabol Tabrir Tabrur Tadith Tadruth Tafuves Tagare Tagekis Takath Tamtel Tanfum Tanlevil Tanon
Tanton Tanvath Tanzos Tapar Tarath Tarland Tasvath Taturn Tazosme Tecar Tedres Tedudu Tefuwarn Tekon
Telfin Tenes Teswar Tewen Teyer Thadan Thafan Thakern Thallol Thamdren Thanlano Thanme Thasha
Thasrur Thatho Theco Thelend Themor Thenhond Thero Thesthor Thevan Theyin Thezem Thikun Thiluyen
Thimul Thirra Thistres Thituth Thoben Thodal Thogo Thomcal Thonzun Thopath Thotenum Thoto Thotras
Thotru Thozath Thumam Thumo Thurper Tidond Tilthon Tinni Tivebro Tizeran Tizosha Tobanne Todith
Togith Tolbron Tolon Tommal Tommes Tomyorn Tonand Torhor Toves Towir Toworn Trabri Tradukar Tramlon
Tramoso Tranbem Trara Trarbrim Trarend Trarhan Trasnin Trenro Trentrur Trercath Tresoth Trewu Treyan
Trimtren Trinva Trirand Trizan Trofas Trohi Tromin Tronhoth Tronles Trorund Trosir Trotan Trovur
Trubran Tulho Tumvotho Tuntho Turis Tursith Turwur Tutenzer Tuwabrol Vacar Vadond Vadren Vamda Vamol
Varpam Varsurn Vastruth Vathol Vavirn Vavoth Vayen Vebrath Vebun Velaveth Velvin Vemfan Vemli Vemton
Vemzo Venuda Vermar Vethe Vical Vidos Vigorn Vilvi Vitoth Vobal Vobemmer Vocorwo Volmor Volrolha
Vombrern Vombrus Vonerbal Vonril Vorbro Vosbrer Votha Vovoyu Vozith Vubrul Vudesna Vufos Vulbun
Vulmero Vumbren Vumorn Vurmol Vurnand Vurrer Vusle Vuyen Wadul Wagisul Wagoth Walkatro Walpond
Walrin Walvil Wambrel Wamdend Wamdere Wamiyu Wammizin Wamtho Wanpeth Wasoth Wayamil Wayemdor
Wedomfon Weduth Wefel Welbu Wemrand Wenes Wesyo Weszumor Wimnorto Wirse Wiyen Wocam Woldra Wolgun
Womvehur Wonrurn Worin Wothebos Wotoszi Wubath Wucone Wudel Wudren Wuldo Wumirn Wusodir Yaleth
Yarren Yavum Yedenan Yedro Yelen Yemthe Yenner Yilgodor Yinund Yolnos Yonratan Yopam Yorwur Yosfis
Yothu Yotren Yotrore Yuban Yudamond Yumterin Yusam Yusbren Yusom Zagelko Zahumun Zambuth Zanavo
Zankom Zapan Zarren Zaver Zavond Zazudo Zefakom Zetham Zilcurn Zimmorn Zirirn Zisol Zobrer Zomzun
Zonsam Zoswen Zowel Zumalzu Zumvo Zutrol Zuvand
"""

NAMES: tuple[str, ...] = tuple(_TEXT.split())
"""1,000 names in alphabetical order."""
