"""What codes mean, in sentences for operators, in Spanish; the keys are those of core.words."""

from __future__ import annotations

from typing import Final

from ocp_ingest.core.words import Words

WHY: Final[dict[str, str]] = {
    "received": "La grabación ha llegado y aún no se ha medido.",
    "inspected": "La grabación se ha medido y aún no se ha validado.",
    "valid": "La grabación es válida y su destino aún no se ha fijado.",
    "routed": "El destino de la grabación está fijado y la copia aún no se ha comprobado.",
    "awaits_cdr": "La grabación está aquí; se esperan los CDR de su llamada.",
    "no_recording": "No ha llegado ninguna grabación.",
    "bad_recording": "La grabación que llegó no sirve; OCP puede tener una copia mejor.",
    "no_cdr": "Sin los CDR que faltan no se puede validar la grabación ni cerrar la llamada.",
    "test_call": "OCP la marcó como llamada de prueba; las llamadas de prueba no se graban.",
    "recording_off": "La grabación de llamadas completas está desactivada en este grupo de OCP.",
    "too_short": "La llamada duró menos que la más corta que OCP graba.",
    "bad_at_ocp": "La copia de la grabación que tiene OCP tampoco sirve.",
    "bad_and_retention_over": (
        "El plazo de conservación de OCP ha terminado y la grabación que tenemos no sirve."
    ),
    "unknown_to_ocp": (
        "Llegó una grabación de una llamada que no figura en las exportaciones de OCP de su hora."
    ),
    "retention_over": (
        "El plazo de conservación de OCP ha terminado y no se obtuvo ninguna grabación."
    ),
    "cdr_retention_over": "El plazo de conservación de OCP ha terminado y siguen faltando CDR.",
}

NEXT: Final[dict[str, str]] = {
    "inspect": "Medir la grabación y comprobar su integridad.",
    "validate": "Contrastar la grabación con su llamada y las reglas de su línea de negocio.",
    "route": "Fijar la línea de negocio, el bucket y la clave.",
    "store": "Copiar la grabación a su bucket y comprobar la copia.",
    "close_absent": "Cerrar la llamada como «sin grabación».",
    "close_quarantined": "Cerrar la llamada como «en cuarentena»; los bytes se conservan.",
    "close_lost": "Cerrar la llamada como «perdida».",
    "give_up": "Seguir adelante sin los CDR que faltan.",
    "ask_export": "Pedir a OCP lo que falta mediante un trabajo de exportación.",
}

ACTS: Final[dict[str, str]] = {
    "given_up": "Se renunció a los CDR que faltaban",
    "retried": "{by} pidió hacer ya el siguiente intento",
    "reopened": "{by} reabrió la llamada",
    "released": "{by} liberó la grabación de la cuarentena",
}

NEEDS: Final[dict[str, str]] = {
    "audio": "la grabación",
    "dialog_start": "el CDR Start",
    "dialog_end": "el CDR End",
}

FLAG_WORDS: Final[dict[str, str]] = {
    "call_started": "llamada iniciada",
    "ivr_ended": "IVR terminado",
    "call_ended": "llamada terminada",
    "file_received": "archivo recibido",
    "post_processed": "posproceso completado",
    "stored": "copiada al bucket de su línea de negocio",
}

OUTCOME_WORDS: Final[dict[str, str]] = {
    "stored": "almacenada",
    "absent": "sin grabación",
    "quarantined": "en cuarentena",
    "lost": "perdida",
}

SOURCE_WORDS: Final[dict[str, str]] = {
    "stream": "el envío en directo",
    "export": "una exportación",
    "census": "el censo",
    "system": "el sistema",
    "operator": "un operador",
}

PROBLEMS: Final[dict[str, str]] = {
    "empty": "El archivo está vacío.",
    "too_short": "El archivo es demasiado corto para ser audio.",
    "not_audio.*": "El archivo no es audio ({name}).",
    "unsupported.*": "El audio tiene un formato que no se admite ({name}).",
    "leading_bytes": "Hay bytes ajenos antes de la cabecera del audio.",
    "length_mismatch": "Llegaron menos o más bytes de los anunciados.",
    "crlf_mangled": "Una conversión de texto (saltos de línea) ha dañado el archivo.",
    "utf8_mangled": "Una conversión de texto (UTF-8) ha destruido las muestras.",
    "truncated_header": "El archivo acaba dentro de su cabecera, antes del audio.",
    "header_too_long": "La cabecera declara una longitud absurda.",
    "too_many_chunks": "La cabecera tiene demasiadas partes para ser auténtica.",
    "bad_chunk": "La cabecera está dañada.",
    "no_fmt": "La cabecera no describe el formato.",
    "fmt_twice": "La cabecera describe el formato dos veces.",
    "fmt_after_data": "El formato se describe después del audio.",
    "bad_fmt_size": "La descripción del formato tiene un tamaño imposible.",
    "bad_extensible": "La descripción ampliada del formato está dañada.",
    "bad_channels": "La cabecera declara un número de canales imposible.",
    "bad_sample_rate": "La cabecera declara una frecuencia de muestreo imposible.",
    "bad_bits": "La cabecera declara un número de bits por muestra imposible.",
    "bad_block_align": "Los números de la cabecera se contradicen.",
    "no_ds64": "Faltan los tamaños de 64 bits.",
    "bad_ds64": "Los tamaños de 64 bits están dañados.",
    "no_data": "El archivo tiene cabecera, pero no audio.",
    "data_twice": "El archivo tiene dos partes de audio.",
    "joined_files": "Dos grabaciones se unieron en un solo archivo.",
    "truncated": "La grabación está cortada: falta su final.",
    "data_size_short": "Parte del audio queda oculta tras una cabecera errónea.",
    "size_wrapped": "El audio es más largo de lo que su cabecera puede decir.",
    "streaming_header": "La cabecera se escribió antes de conocer la duración.",
    "byte_rate_wrong": "La tasa de bytes de la cabecera es errónea.",
    "bits_ignored": "Los bits por muestra de la cabecera no corresponden al códec.",
    "riff_size_wrong": "El tamaño exterior de la cabecera es erróneo.",
    "fact_wrong": "La cabecera cuenta otro número de muestras.",
    "partial_frame": "El audio acaba en mitad de una muestra.",
    "missing_pad": "Falta un byte de relleno.",
    "big_endian": "El archivo es big-endian (RIFX); muchos reproductores no lo leen.",
    "metadata_truncated": "Los metadatos tras el audio están cortados; el audio está entero.",
    "trailing_bytes": "Tras el audio hay bytes que no pertenecen a nada.",
    "trailing_zeros": "Tras el audio hay bytes a cero.",
    "no_frames": "El archivo no contiene tramas MP3.",
    "format_change": "El formato cambia a mitad de la grabación.",
    "damaged_frames": "Muchas partes de la grabación están dañadas.",
    "resync": "Algunos bytes de la grabación están dañados.",
    "junk_before_audio": "Hay bytes ajenos antes de la primera trama MP3.",
    "xing_wrong": "La cabecera MP3 declara otra duración.",
    "free_format": "El MP3 no tiene una tasa de bits estándar; muchos reproductores no lo leen.",
    "zero_filled": "La grabación tiene un hueco relleno de ceros: se perdió audio.",
    "silent": "La grabación está en silencio.",
    "constant_value": "Un canal está bloqueado: no lleva sonido.",
    "silent_channel": "Un canal está en silencio: falta un lado de la conversación.",
    "dead_tail": "El final de la grabación está en silencio.",
    "long_silence": "La grabación tiene un silencio largo.",
    "format.container": "La línea de negocio no admite este contenedor.",
    "format.codec": "La línea de negocio no admite este códec.",
    "format.sample_rate_hz": "La línea de negocio no admite esta frecuencia de muestreo.",
    "format.channels": "La línea de negocio no admite este número de canales.",
    "duration.bounds": "La duración de la grabación no es la que admite la línea de negocio.",
    "duration.longer": "La grabación es más larga que su llamada.",
    "duration.much_shorter": "En la grabación falta la mayor parte de la llamada.",
    "duration.shorter": "La grabación es más corta que su llamada.",
    "duration.paused": "La grabación es más corta que su llamada, que tiene pasos sensibles.",
    "content.silent": "La grabación es silencio.",
    "content.one_way": "Falta un lado de la conversación.",
    "content.dead_tail": "El final de la grabación está en silencio.",
    "identity.dialog": "El nombre del archivo indica otro diálogo.",
    "identity.account": "El nombre del archivo indica otra cuenta.",
    "identity.metadata": "Lo que dice el remitente contradice el nombre del archivo.",
    "identity.start": "La hora del nombre del archivo está lejos del inicio de la llamada.",
    "rule.attached": "Faltan datos adjuntos que la línea de negocio exige.",
    "rule.name": "El nombre del archivo no es como exige la línea de negocio.",
    "rule.direction": "La línea de negocio no admite llamadas de este sentido.",
}

SAYS: Final[dict[str, str]] = {
    "unknown_only": (
        "De esta llamada solo hay mensajes de tipos desconocidos; no hay nada que hacer."
    ),
    "days_left": "OCP borrará sus datos dentro de {days} días.",
    "deleted": "OCP ya ha borrado sus datos.",
    "stored": "La grabación está en {bucket}, en {key}.",
    "person_said": "Lo indicó {by}: {reason}",
    "flag": "la marca «{flag}»",
    "version": "Llegó por {source} una grabación de {bytes} bytes; {state}.",
    "valid": "es válida",
    "unusable": "no sirve",
    "unjudged": "aún no se ha juzgado",
    "window": "{start} a {end}",
    "export_read": "Se leyó la exportación {job} de {window}: {held}.",
    "export_asked": "Se pidió una exportación de {window}.",
    "held": "contenía {what}",
    "held_nothing": "no contenía nada de esta llamada",
    "closed": "Se cerró como «{outcome}»: {reason}",
    "closed_by": "{by} la cerró como «{outcome}»: {reason}",
    "nothing": "Nada.",
    "missing": "Falta: {what}.",
    "due_now": "toca ahora",
    "due_at": "{time}",
}

WORDS: Final = Words(
    why=WHY, next=NEXT, acts=ACTS, needs=NEEDS, flags=FLAG_WORDS, outcomes=OUTCOME_WORDS,
    sources=SOURCE_WORDS, problems=PROBLEMS, says=SAYS, decimal=",",
)  # fmt: skip
